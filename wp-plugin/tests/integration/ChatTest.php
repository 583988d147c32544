<?php

namespace Stagedoor\Tests\Integration;

use Stagedoor\Chat;
use Stagedoor\Tests\TestCase;

final class ChatTest extends TestCase {

	private function held( $html ) {
		preg_match( '/data-stagedoor="([^"]*)"/', $html, $match );
		return json_decode( html_entity_decode( $match[1], ENT_QUOTES ), true );
	}

	public function test_block_and_shortcode_give_a_chat_whose_prompt_is_sealed() {
		$block     = do_blocks( '<!-- wp:stagedoor/chat {"systemPrompt":"House rules","greeting":"<b>Hi</b> & hello"} /-->' );
		$shortcode = do_shortcode( '[stagedoor_chat title="Ask" id="here"]House rules[/stagedoor_chat]' );
		foreach ( array( $block, $shortcode ) as $html ) {
			$this->assertStringNotContainsString( 'House', $html );
			$opened = Chat::open( $this->held( $html )['chat'] );
			$this->assertSame( 'House rules', $opened['system_prompt'] );
			$this->assertStringContainsString( 'role="log"', $html );
		}
		$this->assertStringContainsString( '&lt;b&gt;Hi&lt;/b&gt; &amp; hello', $block );
		$this->assertStringContainsString( 'id="here"', $shortcode );
	}

	public function test_hostile_attributes_are_text() {
		$html = do_shortcode( '[stagedoor_chat title=\'"><script>x</script>\' theme=\'" onload="x\' placeholder=\'"><img src=x>\']' );
		$this->assertStringNotContainsString( '<script', $html );
		$this->assertStringNotContainsString( '<img', $html );
		$this->assertStringNotContainsString( 'onload="x', $html );
	}

	public function test_a_reference_ends_with_the_chat_it_stands_for() {
		$post = wp_insert_post( array( 'post_status' => 'publish', 'post_title' => 'x', 'post_content' => '<!-- wp:group --><div><!-- wp:stagedoor/chat {"model":"model-b"} /--></div><!-- /wp:group -->' ) );
		$this->go_to( $post );
		$chat = $this->held( apply_filters( 'the_content', get_post( $post )->post_content ) )['chat'];
		$this->assertSame( 'model-b', Chat::open( $chat )['model'] );

		wp_update_post( array( 'ID' => $post, 'post_content' => '<!-- wp:stagedoor/chat {"model":"model-a"} /-->' ) );
		$this->assertSame( 410, Chat::open( $chat )->get_error_data()['status'] );
		wp_update_post( array( 'ID' => $post, 'post_content' => '[stagedoor_chat model="model-b"]' ) );
		$this->assertSame( 'model-b', Chat::open( $chat )['model'], 'the same chat, written otherwise' );
		wp_update_post( array( 'ID' => $post, 'post_status' => 'private' ) );
		$this->assertSame( 410, Chat::open( $chat )->get_error_data()['status'] );
		wp_delete_post( $post, true );
		$this->assertSame( 410, Chat::open( $chat )->get_error_data()['status'] );
	}

	/**
	 * WordPress makes paragraphs and typographic quotes of what stands between a shortcode's tags.
	 */
	public function test_a_prompt_between_a_shortcodes_tags_is_as_it_was_typed_and_ends_with_it() {
		$typed = "Don't say \"no\" - ever ...\n\nAnswer:\n* for <guests>\n* for 'members'";
		$post  = wp_insert_post( array( 'post_status' => 'publish', 'post_title' => 'x', 'post_content' => "Before\n\n[stagedoor_chat title=\"Box\"]\n{$typed}\n[/stagedoor_chat]\n\nafter" ) );
		$this->go_to( $post );
		$chat = $this->held( apply_filters( 'the_content', get_post( $post )->post_content ) )['chat'];
		$this->assertSame( str_replace( '<guests>', '', $typed ), Chat::open( $chat )['system_prompt'] );
		wp_update_post( array( 'ID' => $post, 'post_content' => '[stagedoor_chat]Say yes.[/stagedoor_chat]' ) );
		$this->assertSame( 410, Chat::open( $chat )->get_error_data()['status'] );
	}

	public function test_a_sidebars_chat_answers_beside_a_post_whose_password_was_not_given() {
		$post = wp_insert_post( array( 'post_status' => 'publish', 'post_title' => 'x', 'post_password' => 'pw', 'post_content' => '<!-- wp:stagedoor/chat /-->' ) );
		$this->go_to( $post );
		$chat = $this->held( do_blocks( '<!-- wp:stagedoor/chat {"model":"model-b"} /-->' ) )['chat'];
		$this->assertSame( array( 'model-b', 0 ), array( Chat::open( $chat )['model'], Chat::open( $chat )['post_id'] ) );
	}

	public function test_where_to_ask_is_not_in_what_authors_write() {
		wp_scripts()->registered['stagedoor-view']->extra['before'] = array();
		$held = $this->held( do_shortcode( '[stagedoor_chat]' ) . do_shortcode( '[stagedoor_chat]' ) );
		$this->assertSame( array( 'chat', 'order', 'format' ), array_keys( $held ) );
		$script = implode( '', array_filter( wp_scripts()->registered['stagedoor-view']->extra['before'] ) );
		$this->assertSame( 1, substr_count( $script, 'window.stagedoorSite = {"rest":"' ), 'once a page' );
		$this->assertStringNotContainsString( self::KEY, $script );
	}

	/**
	 * @dataProvider searches
	 */
	public function test_the_sites_search_finds_no_prompt( $words, $finds ) {
		foreach ( array( '<!-- wp:stagedoor/chat {"greeting":"Welcome aboard","systemPrompt":"Code word -- xylophone \\"of\\" brass"} /-->', '[stagedoor_chat greeting="Welcome aboard" system_prompt="Say xylophone of brass"]Or xylophone of brass[/stagedoor_chat]' ) as $chat ) {
			$post = wp_insert_post( wp_slash( array( 'post_status' => 'publish', 'post_title' => 'Box office', 'post_content' => "<p>Marimba tickets</p>\n{$chat}" ) ) );
			$this->assertSame( $finds ? array( $post ) : array(), ( new \WP_Query( array( 's' => $words, 'fields' => 'ids' ) ) )->posts );
			wp_delete_post( $post, true );
		}
	}

	public static function searches() {
		return array(
			array( 'xylophone', false ),
			array( 'xylo', false ),
			array( '"of brass"', false ),
			array( 'marimba xylophone', false ),
			array( 'marimba', true ),
			array( 'marimba -xylophone', true ),
			array( 'marimba -tickets', false ),
			array( 'box office', true ),
			array( 'aboard', true ),
			array( 'systemPrompt', false ),
		);
	}

	public function test_who_may_edit_finds_prompts_and_other_pages_are_found_as_ever() {
		$with  = wp_insert_post( wp_slash( array( 'post_status' => 'publish', 'post_title' => 'A', 'post_content' => '<!-- wp:stagedoor/chat {"systemPrompt":"xylophone"} /-->' ) ) );
		$plain = wp_insert_post( array( 'post_status' => 'publish', 'post_title' => 'B', 'post_content' => 'A xylophone for sale' ) );
		$ids   = static function () {
			return ( new \WP_Query( array( 's' => 'xylophone', 'fields' => 'ids', 'orderby' => 'ID', 'order' => 'ASC' ) ) )->posts;
		};
		$this->assertSame( array( $plain ), $ids() );
		wp_set_current_user( $this->user( 'editor' ) );
		$this->assertSame( array( $with, $plain ), $ids() );
	}

	public function test_what_the_block_renderer_shows_cannot_ask() {
		wp_set_current_user( $this->user( 'contributor' ) );
		$request = new \WP_REST_Request( 'GET', '/wp/v2/block-renderer/stagedoor/chat' );
		$request->set_query_params( array( 'context' => 'edit', 'attributes' => array( 'systemPrompt' => 'My own.', 'title' => 'Mine' ) ) );
		$shown = rest_do_request( $request )->get_data()['rendered'];
		$this->assertStringContainsString( 'Mine', $shown );
		$this->assertSame( '', $this->held( $shown )['chat'] );
		$this->assertNotSame( '', $this->held( do_shortcode( '[stagedoor_chat]' ) )['chat'], 'afterwards as before' );
	}

	public function test_a_chat_of_a_template_or_a_widget_needs_no_post() {
		$chat = $this->held( do_blocks( '<!-- wp:stagedoor/chat {"model":"model-b"} /-->' ) )['chat'];
		$this->assertSame( 'model-b', Chat::open( $chat )['model'] );
	}

	public function test_nothing_is_shown_before_the_gateway_is_known_but_to_who_can_change_that() {
		delete_option( \Stagedoor\Settings::KEY_OPTION );
		$this->assertSame( '', do_shortcode( '[stagedoor_chat]' ) );
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->assertStringContainsString( 'options-general.php?page=stagedoor', do_shortcode( '[stagedoor_chat]' ) );
	}

	public function test_the_html_can_be_filtered() {
		add_filter(
			'stagedoor_chat_html',
			static function ( $html ) {
				return "<aside>{$html}</aside>";
			}
		);
		$this->assertStringStartsWith( '<aside><div', do_shortcode( '[stagedoor_chat]' ) );
	}

	public function test_the_order_of_transports_follows_the_owner_then_the_test_then_a_hook() {
		$this->assertSame( array( 'direct', 'relay', 'buffered' ), \Stagedoor\Verdict::order() );
		\Stagedoor\Verdict::keep( array( 'relay' => 'buffered' ) );
		$this->assertSame( array( 'direct', 'buffered' ), \Stagedoor\Verdict::order() );
		\Stagedoor\Verdict::keep( array( 'direct' => 'failed', 'relay' => 'ok' ) );
		$this->assertSame( array( 'relay', 'buffered' ), \Stagedoor\Verdict::order() );
		$this->settings( array( 'transport' => 'direct' ) );
		$this->assertSame( array( 'direct', 'buffered' ), \Stagedoor\Verdict::order() );
		add_filter(
			'stagedoor_transport',
			static function () {
				return array( 'relay', 'pigeon' );
			}
		);
		$this->assertSame( array( 'relay' ), \Stagedoor\Verdict::order() );
	}

	private function go_to( $post_id ) {
		global $post;
		$post = get_post( $post_id );
		setup_postdata( $post );
	}

	protected function tearDown(): void {
		global $post;
		$post = null;
		parent::tearDown();
	}
}
