"""WordPress' own AI client: another plugin asks, and goes through Stagedoor."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.wordpress.chatting import log_in
from tests.wordpress.conftest import Stage
from tests.wordpress.lab import SITE_KEY

pytestmark = pytest.mark.wordpress

OTHER = """<?php
/* Plugin Name: Other */
add_action( 'rest_api_init', function () {
	register_rest_route( 'other/v1', '/ask', array(
		'methods' => 'GET',
		'permission_callback' => '__return_true',
		'callback' => function () {
			$result = wp_ai_client_prompt( 'Say something' )->using_system_instruction( 'Be brief.' )->generate_text_result();
			if ( is_wp_error( $result ) ) {
				return array( 'error' => $result->get_error_message() );
			}
			return array( 'text' => $result->toText(), 'tokens' => $result->getTokenUsage()->getTotalTokens() );
		},
	) );
} );
"""


@pytest.fixture
def other(stage: Stage) -> Path:
    """Another plugin, which knows nothing of ours."""
    folder = stage.site.path / "wp-content" / "plugins" / "other"
    folder.mkdir(exist_ok=True)
    (folder / "other.php").write_text(OTHER)
    stage.site.wp("plugin", "activate", "other")
    return folder


def test_another_plugins_prompt_goes_through_the_gateway(
    stage: Stage, other: Path, page: Page
) -> None:
    page.goto(f"{stage.site.url}/wp-json/other/v1/ask")

    assert '"text":"One two three four five six seven eight."' in page.content()
    assert '"tokens":18' in page.content()
    asked = stage.upstream.asked[0]
    assert asked.body["model"] == "model-a"
    assert asked.system == "Be brief."


def test_the_gateway_is_told_which_plugin_asks(stage: Stage, other: Path) -> None:
    """Its usage is told apart by that."""
    said = stage.site.php(
        "add_filter( 'http_request_args', function ( $args, $url ) {"
        "if ( strpos( $url, 'chat/completions' ) ) { echo wp_json_encode( $args['headers'] ); }"
        "return $args; }, 99, 2 );"
        "rest_do_request( new WP_REST_Request( 'GET', '/other/v1/ask' ) );"
    )

    assert '"X-Stagedoor-Client":"wordpress-plugin\\/1.7.0"' in said
    assert '"X-Stagedoor-Feature":"ai-client:other"' in said


def test_core_lists_it_as_a_connector_and_masks_its_key(
    stage: Stage, page: Page
) -> None:
    log_in(page, stage.site)
    page.goto(f"{stage.site.url}/wp-admin/options-connectors.php")
    page.get_by_text("Stagedoor", exact=True).first.wait_for()

    settings = page.evaluate(
        "() => wp.apiFetch ? wp.apiFetch({path: '/wp/v2/settings'}) : null"
    )

    assert SITE_KEY not in page.content()
    assert settings is None or SITE_KEY not in str(settings)


def test_requests_to_other_private_addresses_stay_forbidden(stage: Stage) -> None:
    """The gateway's address is let through, and no other."""
    said = stage.site.php(
        "$r = wp_safe_remote_get( 'http://127.0.0.1:9/x' );"
        "echo is_wp_error( $r ) ? $r->get_error_message() : 'answered';"
    )

    assert "valid URL" in said


def test_a_cap_that_another_plugin_comes_upon_is_told_to_the_owner(
    stage: Stage, other: Path, page: Page
) -> None:
    stage.gateway.write([stage.site.url], "spend_usd_max = 0.000001")

    def asked() -> str:
        page.goto(f"{stage.site.url}/wp-json/other/v1/ask")
        return page.content()

    try:
        stage.upstream.until("the cap is in force", lambda: '"error"' in asked())
        log_in(page, stage.site)
        page.goto(f"{stage.site.url}/wp-admin/")
        notice = page.locator(
            ".notice-warning", has_text="Stagedoor answers no questions"
        )
        assert "spend" in notice.inner_text()
    finally:
        stage.gateway.write([stage.site.url])
        stage.upstream.until("the cap is gone", lambda: '"text"' in asked())
