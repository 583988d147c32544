"""The plugin within WordPress: command line, Site Health, usage, networks, leaving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.wordpress import lab
from tests.wordpress.chatting import Visitor, log_in
from tests.wordpress.conftest import CHAT, Stage
from tests.wordpress.lab import SITE_KEY
from tests.wordpress.upstream import DELTAS, say
from tools.wp_plugin import build

pytestmark = pytest.mark.wordpress

WHOLE = "".join(DELTAS)


def test_the_command_line_asks_and_tells(stage: Stage) -> None:
    status = json.loads(stage.site.wp("stagedoor", "status", "--format=json"))
    models = json.loads(stage.site.wp("stagedoor", "models", "--format=json"))

    assert stage.site.wp("stagedoor", "chat", "Hi") == WHOLE
    assert stage.site.wp("stagedoor", "chat", "Hi", "--no-stream") == WHOLE
    assert status["answers"] == "yes"
    assert SITE_KEY not in json.dumps(status)
    assert [row["model"] for row in models] == ["model-a", "model-b"]
    refused = stage.site.wp("stagedoor", "chat", say(status=400, code="x"), check=False)
    assert "Error: as the script says" in refused


def test_the_command_line_finds_out_how_pieces_arrive(stage: Stage) -> None:
    said = stage.site.wp("stagedoor", "test-stream")

    assert "piece 5 after" in said
    assert "Success: Pieces arrive one by one" in said


def test_site_health_tells_how_the_gateway_and_the_way_to_it_are(
    stage: Stage, page: Page
) -> None:
    log_in(page, stage.site)
    page.goto(f"{stage.site.url}/wp-admin/site-health.php")

    page.get_by_role("button", name="Passed tests").click(timeout=60_000)
    passed = page.locator("#health-check-issues-good")
    expect(passed).to_contain_text("The Stagedoor gateway answers", timeout=60_000)
    expect(passed).to_contain_text("lets streamed answers through", timeout=60_000)


def test_a_wrong_key_is_said_where_it_can_be_mended(stage: Stage) -> None:
    stage.site.wp(
        "option", "update", "connectors_ai_stagedoor_api_key", "sk-wrong-0001"
    )

    health = json.loads(
        stage.site.php("echo wp_json_encode( Stagedoor\\Site_Health::gateway() );")
    )

    assert health["status"] == "critical"
    assert "does not accept" in health["label"]


def test_the_dashboard_shows_what_was_spent_on_what(
    stage: Stage, context: BrowserContext
) -> None:
    stage.gateway.write([stage.site.url], "spend_usd_max = 1.5")
    try:
        Visitor(context.new_page()).open(stage.page_url).ask("Hi").answer()
        stage.site.wp("stagedoor", "chat", "Hi")

        def told() -> bool:
            view = json.loads(
                stage.site.php("echo wp_json_encode( Stagedoor\\Usage::view( true ) );")
            )
            labels = {row["label"] for row in view.get("features", [])}
            return view.get("cap") == 1.5 and {"Chat", "Command line"} <= labels

        stage.upstream.until("usage is told", told)
        admin = context.new_page()
        log_in(admin, stage.site)
        admin.goto(f"{stage.site.url}/wp-admin/")
        widget = admin.locator("#stagedoor_usage")
        expect(widget).to_contain_text("of $1.50")
        expect(widget).to_contain_text("Begins anew on")
        expect(widget.locator("tbody tr").filter(has_text="Chat")).to_have_count(1)
    finally:
        stage.gateway.write([stage.site.url])


def test_a_subscriber_has_no_screen_of_ours(stage: Stage, page: Page) -> None:
    log_in(page, stage.site, "sub")

    response = page.goto(
        f"{stage.site.url}/wp-admin/options-general.php?page=stagedoor"
    )

    assert response is not None
    assert response.status == 403
    page.goto(f"{stage.site.url}/wp-admin/")
    assert page.locator("#stagedoor_usage").count() == 0


@pytest.mark.parametrize(("direction", "locale"), [("ltr", ""), ("rtl", "rtl")])
def test_the_chat_fits_small_screens_in_both_directions(
    stage: Stage, context: BrowserContext, direction: str, locale: str
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 340, "height": 700})
    visitor = Visitor(page).open(stage.page_url)
    page.evaluate(
        "direction => { document.documentElement.dir = direction; }", direction
    )

    visitor.ask(say(deltas=["word " * 60, "\n\n```\n", "x" * 300, "\n```"])).ended()

    chat = page.locator(".stagedoor-chat")
    assert chat.evaluate("e => e.scrollWidth <= e.clientWidth")
    send, field = (
        chat.locator(f".stagedoor-chat__{name}").bounding_box()
        for name in ("send", "input")
    )
    assert send is not None
    assert field is not None
    assert (send["x"] > field["x"]) == (direction == "ltr")


def test_the_chat_is_told_to_screen_readers(stage: Stage, page: Page) -> None:
    visitor = Visitor(page).open(stage.page_url)
    log = page.locator("[role=log]")
    assert log.get_attribute("aria-label") == "Conversation"
    expect(page.get_by_label("Your question")).to_be_visible()

    visitor.ask(say(gap_ms=200))
    visitor.shows("One")
    assert log.get_attribute("aria-busy") == "true"
    visitor.page.keyboard.press("Escape")
    visitor.ended()

    assert log.get_attribute("aria-busy") == "false"
    assert page.locator("[role=status]").inner_text() == "Stopped."


def test_contrast_is_enough_in_light_and_dark(
    stage: Stage, context: BrowserContext
) -> None:
    """WCAG AA: 4.5 for every text of the chat."""
    for theme in ("light", "dark"):
        page = context.new_page()
        page.goto(
            stage.site.page(theme, f'<!-- wp:stagedoor/chat {{"theme":"{theme}"}} /-->')
        )
        page.evaluate("document.querySelector('.stagedoor-chat').stagedoor.ask('Hi')")
        page.wait_for_selector(".stagedoor-chat__turn.is-user")
        for ratio in page.evaluate(CONTRASTS):
            assert ratio["ratio"] >= 4.5, (theme, ratio)


CONTRASTS = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const names = ['title', 'note', 'send', 'input'];
  const nodes = [...names.map(n => document.querySelector('.stagedoor-chat__' + n)), ...document.querySelectorAll('.stagedoor-chat__text')];
  return nodes.filter(Boolean).map(node => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    return {name: node.className, ratio: (a + 0.05) / (b + 0.05)};
  });
}"""


# -- networks, and leaving ---------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    """A network of two sites with the plugin active on both."""
    tmp = tmp_path_factory.mktemp("network")
    with (
        lab.site(install_plugin=False) as site,
        lab.gateway(tmp / "gateway", [site.url]) as gateway,
    ):
        site.wp("core", "multisite-convert")
        site.wp("plugin", "install", str(build(tmp)), "--activate-network")
        site.wp("site", "create", "--slug=second")
        yield Stage(site, gateway, "")


def on_second(stage: Stage, code: str) -> str:
    """What PHP prints on the second site."""
    return stage.site.wp("eval", code, f"--url={stage.site.url}/second/")


def test_each_site_of_a_network_has_its_own_settings_key_and_tables(
    network: Stage,
) -> None:
    network.site.php(
        "update_option( 'connectors_ai_stagedoor_api_key', 'sk-first-site-0001', false );"
        "update_option( 'stagedoor_settings', array( 'base_url' => 'https://first.example' ), false );"
    )

    assert on_second(network, "echo Stagedoor\\Settings::api_key();") == ""
    assert on_second(network, "echo Stagedoor\\Settings::base_url();") == ""
    tables = network.site.sql(
        "SELECT name FROM sqlite_master WHERE name LIKE '%stagedoor_counts'"
    )
    assert sorted(tables) == [("wp_2_stagedoor_counts",), ("wp_stagedoor_counts",)]


def test_a_sites_owner_cannot_make_the_network_reach_what_is_behind_it(
    network: Stage,
) -> None:
    """A private address is for who can write wp-config.php."""
    ask = (
        f"update_option( 'stagedoor_settings', array( 'base_url' => '{network.gateway.url}' ), false );"
        f"update_option( 'connectors_ai_stagedoor_api_key', '{SITE_KEY}', false );"
        "$m = Stagedoor\\Client::models( true );"
        "echo is_wp_error( $m ) ? $m->get_error_code() : 'answered';"
    )

    assert on_second(network, ask) == "stagedoor_unreachable"
    fixed = f"define( 'STAGEDOOR_BASE_URL', '{network.gateway.url}' );" + ask
    assert on_second(network, fixed) == "answered"


def test_a_networks_key_is_not_sent_to_an_address_that_one_site_chooses(
    network: Stage,
) -> None:
    """Whoever runs one site could name a server of their own, and be sent the key of all."""
    ask = (
        f"define( 'STAGEDOOR_API_KEY', '{SITE_KEY}' ); $asked = 0;"
        "update_option( 'stagedoor_settings', array( 'base_url' => 'https://evil.example' ), false );"
        "add_filter( 'pre_http_request', function ( $no, $args ) use ( &$asked ) { $asked++; return new WP_Error( 'x', 'x' ); }, 10, 2 );"
        "$m = Stagedoor\\Client::models( true );"
        "echo $m->get_error_code(), ' ', $asked, ' ', Stagedoor\\Settings::masked_key();"
    )

    assert on_second(network, ask).startswith("stagedoor_unready 0")
    fixed = f"define( 'STAGEDOOR_BASE_URL', '{network.gateway.url}' );" + ask
    said = on_second(network, fixed)
    assert said.startswith("stagedoor_unreachable 1")
    assert SITE_KEY[-4:] not in said  # Nor does one site's screen show the end of it.


def test_deactivating_for_a_network_ends_every_sites_daily_job(network: Stage) -> None:
    jobs = "echo wp_next_scheduled( 'stagedoor_daily' ) ? 'runs' : 'ended';"
    assert on_second(network, jobs) == "runs"

    network.site.wp("plugin", "deactivate", "stagedoor", "--network")

    assert on_second(network, jobs) == "ended"
    network.site.wp("plugin", "activate", "stagedoor", "--network")


def test_uninstalling_leaves_nothing_on_any_site(network: Stage) -> None:
    network.site.php(
        "get_role( 'editor' )->add_cap( 'stagedoor_manage' );"
        "get_userdata( 1 )->add_cap( 'stagedoor_chat' );"
        "set_transient( 'stagedoor_models', array( 'x' ) );"
    )
    network.site.wp("plugin", "deactivate", "stagedoor", "--network")
    network.site.wp("plugin", "uninstall", "stagedoor")

    dump = "\n".join(
        str(row)
        for table in ("wp_options", "wp_2_options", "wp_sitemeta", "wp_usermeta")
        for row in network.site.sql(f"SELECT * FROM {table}")  # noqa: S608 - our own names
        if "recently" not in str(row)
    )
    assert "stagedoor" not in dump.lower()
    assert (
        network.site.sql("SELECT name FROM sqlite_master WHERE name LIKE '%stagedoor%'")
        == []
    )


def test_data_stays_where_the_owner_wants_to_keep_it(
    stage: Stage, tmp_path: Path
) -> None:
    stage.site.settings(delete_on_uninstall=False)
    keep = stage.site.path / "wp-content/plugins/stagedoor"
    aside = tmp_path / "stagedoor"
    shutil.copytree(keep, aside)
    try:
        stage.site.wp("plugin", "uninstall", "stagedoor", "--deactivate")
        left = stage.site.wp("option", "get", "connectors_ai_stagedoor_api_key")
        assert left == SITE_KEY
    finally:
        shutil.copytree(aside, keep, dirs_exist_ok=True)


def test_without_the_plugin_a_page_shows_no_rest_of_it(
    stage: Stage, page: Page
) -> None:
    stage.site.wp("plugin", "deactivate", "stagedoor")

    page.goto(stage.page_url)

    assert "stagedoor" not in page.locator("main").inner_html()
    assert CHAT not in page.content()
