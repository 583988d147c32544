<?php

namespace Stagedoor\Tests\Integration;

use Stagedoor\Limiter;
use Stagedoor\Tests\TestCase;

final class RestTest extends TestCase {

	protected function setUp(): void {
		parent::setUp();
		$this->gateway['/v1/chat/completions'] = self::completion();
		$this->gateway['/v1/stream_grants']    = array( 201, array( 'url' => self::GATEWAY . '/v1/stream_grants/sg1.token', 'expires_at' => time() + 60 ) );
	}

	public function test_an_answer_in_one_piece() {
		$answer = $this->post( 'complete', $this->ask() );
		$this->assertSame( 200, $answer->get_status() );
		$this->assertSame( 'Hello', $answer->get_data()['text'] );
		$sent = end( $this->sent );
		$this->assertSame( 'Bearer ' . self::KEY, $sent['args']['headers']['Authorization'] );
		$this->assertSame( 'wordpress-plugin/1.7.0', $sent['args']['headers']['X-Stagedoor-Client'] );
		$this->assertSame( 'Stagedoor-WordPress/1.7.0', $sent['args']['user-agent'] );
		$this->assertSame( 'chat', $sent['args']['headers']['X-Stagedoor-Feature'] );
		$this->assertSame( 0, $sent['args']['redirection'] );
		$this->assertStringStartsWith( 'no-store', $answer->get_headers()['Cache-Control'] );
	}

	public function test_a_grant_has_everything_and_the_browser_gets_a_url() {
		$this->settings( array( 'system_prompt' => 'House rules.' ) );
		$answer = $this->post( 'grants', $this->ask( 'Hi', array( 'chat' => $this->chat( array( 'model' => 'model-b' ) ) ) ) );
		$data   = $answer->get_data();
		$this->assertSame( 'direct', $data['transport'] );
		$this->assertSame( self::GATEWAY . '/v1/stream_grants/sg1.token', $data['url'] );
		$body = $this->last_body();
		$this->assertSame( \Stagedoor\Access::origin_of( home_url() ), $body['origin'] );
		$this->assertSame( 'model-b', $body['request']['model'] );
		$this->assertSame( 'House rules.', $body['request']['messages'][0]['content'] );
		$this->assertTrue( $body['request']['stream'] );
		$this->assertStringNotContainsString( 'House', wp_json_encode( $data ) );
		$this->assertStringNotContainsString( self::KEY, wp_json_encode( $data ) );
	}

	public function test_a_grants_url_is_where_browsers_reach_the_gateway() {
		$this->settings( array( 'public_url' => 'https://ai.example.com/llm' ) );
		$this->gateway['/v1/stream_grants'][1]['url'] = 'http://10.0.0.5:8080/v1/stream_grants/t?audience=x';
		$this->assertSame( 'https://ai.example.com/llm/v1/stream_grants/t?audience=x', $this->post( 'grants', $this->ask() )->get_data()['url'] );
	}

	public function test_an_older_gateway_is_asked_through_php_and_not_asked_again() {
		unset( $this->gateway['/v1/stream_grants'] );
		$this->assertSame( 'relay', $this->post( 'grants', $this->ask() )->get_data()['transport'] );
		$this->assertSame( 'relay', $this->post( 'grants', $this->ask() )->get_data()['transport'] );
		$this->assertCount( 1, $this->sent );
	}

	public function test_a_ticket_moves_a_question_to_another_transport_once_and_counts_nothing() {
		$this->settings( array( 'limit_guest' => 1 ) );
		$this->gateway['/v1/stream_grants/sg1.token'] = array( 200, "data: {\"choices\":[{\"delta\":{\"content\":\"Hey\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n" );
		$ask    = $this->ask();
		$ticket = $this->post( 'grants', $ask )->get_data()['ticket'];

		$answer = $this->post( 'complete', array_merge( $ask, array( 'ticket' => $ticket ) ) );
		$again  = $this->post( 'complete', array_merge( $ask, array( 'ticket' => $ticket ) ) );

		$this->assertSame( 'Hey', $answer->get_data()['text'] );
		$last = end( $this->sent );
		$this->assertSame( \Stagedoor\Access::origin_of( home_url() ), $last['args']['headers']['Origin'] );
		$this->assertArrayNotHasKey( 'Authorization', $last['args']['headers'] );
		$this->assertSame( 409, $again->get_status() );
		$this->assertCount( 2, $this->sent );
	}

	public function test_a_ticket_is_good_for_its_question_and_its_visitor_only() {
		$ask    = $this->ask();
		$ticket = $this->post( 'grants', $ask )->get_data()['ticket'];
		$other  = $this->post( 'complete', array_merge( $ask, array( 'ticket' => $ticket, 'messages' => array( array( 'role' => 'user', 'content' => 'Something else' ) ) ) ) );
		$this->assertSame( 400, $other->get_status() );

		$_SERVER['REMOTE_ADDR'] = '198.51.100.9';
		$this->assertNull( \Stagedoor\Ticket::read( $ticket ) );
	}

	public function test_the_same_question_is_asked_once() {
		$ask = $this->ask();
		$this->assertSame( 200, $this->post( 'complete', $ask )->get_status() );
		$again = $this->post( 'complete', $ask );
		$this->assertSame( array( 409, 'stagedoor_started' ), array( $again->get_status(), $again->get_data()['code'] ) );
		$this->assertCount( 1, $this->sent );
	}

	/**
	 * @dataProvider strangers
	 */
	public function test_only_pages_of_this_site_may_ask( $origin ) {
		$answer = $this->post( 'complete', $this->ask(), $origin );
		$this->assertSame( 403, $answer->get_status() );
		$this->assertSame( array(), $this->sent );
	}

	public static function strangers() {
		return array( array( 'https://evil.example' ), array( 'null' ), array( '' ), array( 'https://wordpress.test.evil.example' ) );
	}

	public function test_another_domain_of_the_site_can_be_allowed() {
		add_filter(
			'stagedoor_allowed_origins',
			static function ( $origins ) {
				return array_merge( $origins, array( 'https://shop.example' ) );
			}
		);
		$this->assertSame( 200, $this->post( 'complete', $this->ask(), 'https://shop.example' )->get_status() );
	}

	/**
	 * @dataProvider malformed
	 */
	public function test_what_cannot_be_read_is_refused( array $change, $status ) {
		$answer = $this->post( 'complete', array_merge( $this->ask(), $change ) );
		$this->assertSame( $status, $answer->get_status() );
		$this->assertSame( array(), $this->sent );
	}

	public static function malformed() {
		return array(
			array( array( 'question' => 'short' ), 400 ),
			array( array( 'question' => array() ), 400 ),
			array( array( 'chat' => 'forged' ), 410 ),
			array( array( 'chat' => null ), 410 ),
			array( array( 'messages' => 'hi' ), 400 ),
			array( array( 'messages' => array() ), 400 ),
			array( array( 'messages' => array( 'role' => 'user' ) ), 400 ),
			array( array( 'messages' => array( array( 'role' => 'system', 'content' => 'x' ) ) ), 400 ),
			array( array( 'messages' => array( array( 'role' => 'user', 'content' => array( 'x' ) ) ) ), 400 ),
			array( array( 'messages' => array( array( 'role' => 'user', 'content' => ' ' ) ) ), 400 ),
			array( array( 'messages' => array( array( 'role' => 'user', 'content' => 'a' ), array( 'role' => 'assistant', 'content' => 'b' ) ) ), 400 ),
			array( array( 'messages' => array( array( 'role' => 'user', 'content' => str_repeat( 'x', 4001 ) ) ) ), 400 ),
		);
	}

	public function test_old_turns_are_left_out_before_a_conversation_gets_too_long() {
		$turns = array();
		for ( $i = 0; $i < 30; $i++ ) {
			$turns[] = array( 'role' => 0 === $i % 2 ? 'user' : 'assistant', 'content' => $i . str_repeat( 'x', 8000 ) );
		}
		$turns[] = array( 'role' => 'user', 'content' => 'last' );
		$this->post( 'complete', $this->ask( '', array( 'messages' => $turns ) ) );
		$sent = $this->last_body()['messages'];
		$this->assertSame( 'user', $sent[0]['role'] );
		$this->assertSame( 'last', end( $sent )['content'] );
		$this->assertLessThanOrEqual( 8, count( $sent ) );
	}

	public function test_no_chat_gets_more_tokens_than_the_site_gives() {
		$this->settings( array( 'max_tokens' => 100 ) );
		$this->post( 'complete', $this->ask( 'Hi', array( 'chat' => $this->chat( array( 'max_tokens' => 5000 ) ) ) ) );
		$this->assertSame( 100, $this->last_body()['max_tokens'] );
		$this->post( 'complete', $this->ask( 'Hi', array( 'chat' => $this->chat( array( 'max_tokens' => 50 ) ) ) ) );
		$this->assertSame( 50, $this->last_body()['max_tokens'] );
	}

	/**
	 * @dataProvider refusals
	 */
	public function test_refusals_of_the_gateway( $status, $code, $kind, $ours ) {
		$this->gateway['/v1/chat/completions'] = array( $status, array( 'error' => array( 'code' => $code, 'message' => 'Inner reason.' ) ), array( 'retry-after' => '7' ) );
		$answer                                = $this->post( 'complete', $this->ask() );
		$data                                  = $answer->get_data();
		$this->assertSame( $ours, $answer->get_status() );
		$this->assertSame( $kind, $data['data']['kind'] );
		$this->assertStringNotContainsString( 'Inner', wp_json_encode( $data ) );
		$this->assertSame( 0, (int) $this->hits( 'guest' ), 'what was not answered is not counted' );
	}

	public static function refusals() {
		return array(
			array( 429, 'insufficient_quota', 'cap', 429 ),
			array( 429, 'rate_limit_exceeded', 'busy', 429 ),
			array( 401, 'invalid_api_key', 'key', 502 ),
			array( 404, 'model_not_found', 'model', 502 ),
			array( 400, 'context_length_exceeded', 'too_long', 400 ),
			array( 400, 'content_filter', 'filtered', 400 ),
			array( 503, '', 'busy', 429 ),
			array( 500, '', 'unreachable', 502 ),
			array( 302, '', 'unreachable', 502 ),
		);
	}

	public function test_who_runs_the_site_reads_the_reason() {
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->gateway['/v1/chat/completions'] = array( 401, array( 'error' => array( 'code' => 'invalid_api_key', 'message' => 'Key is not known.' ) ) );
		$this->assertSame( 'Key is not known.', $this->post( 'complete', $this->ask() )->get_data()['data']['reason'] );
	}

	public function test_a_gateway_that_cannot_be_reached() {
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->gateway['/v1/chat/completions'] = new \WP_Error( 'http_request_failed', 'cURL error 7: no route to https://gateway.test/v1/stream_grants/sg1.secret port 443' );
		$data                                  = $this->post( 'complete', $this->ask() )->get_data();
		$this->assertSame( 'unreachable', $data['data']['kind'] );
		$this->assertStringNotContainsString( 'secret', $data['data']['reason'] );
	}

	public function test_connector_approvals_is_named_and_not_gone_around() {
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->gateway['/v1/chat/completions'] = new \WP_Error( 'wpai_connector_not_approved', 'no' );
		$this->assertStringContainsString( 'Connector Approvals', $this->post( 'complete', $this->ask() )->get_data()['data']['reason'] );
	}

	public function test_limits_of_guests_users_and_the_site() {
		$this->settings( array( 'limit_guest' => 2, 'limit_user' => 1, 'limit_site' => 4 ) );
		$this->assertSame( 200, $this->post( 'complete', $this->ask() )->get_status() );
		$this->assertSame( 200, $this->post( 'complete', $this->ask() )->get_status() );
		$refused = $this->post( 'complete', $this->ask() );
		$this->assertSame( array( 429, 'limit' ), array( $refused->get_status(), $refused->get_data()['data']['kind'] ) );
		$_SERVER['REMOTE_ADDR'] = '198.51.100.1';
		$this->assertSame( 200, $this->post( 'complete', $this->ask() )->get_status() );
		wp_set_current_user( $this->user( 'subscriber' ) );
		$this->assertSame( 200, $this->post( 'complete', $this->ask() )->get_status() );
		$this->assertSame( 'limit', $this->post( 'complete', $this->ask() )->get_data()['data']['kind'] );
		wp_set_current_user( $this->user( 'subscriber' ) );
		$this->assertSame( 'cap', $this->post( 'complete', $this->ask() )->get_data()['data']['kind'] );
		$this->assertCount( 4, $this->sent );
	}

	public function test_places_of_relays_are_bounded_and_given_back() {
		$this->settings( array( 'relay_max' => 1 ) );
		$place = Limiter::enter_relay( 100 );
		$ask   = $this->ask();
		$busy  = $this->post( 'complete', $ask );
		$this->assertSame( array( 503, true ), array( $busy->get_status(), $busy->get_data()['data']['again'] ) );
		Limiter::leave_relay( $place );
		$this->assertSame( 200, $this->post( 'complete', $ask )->get_status(), 'the same question, as nothing was used up' );
		$this->assertNotNull( Limiter::enter_relay( -1 ) );
		$this->assertNotNull( Limiter::enter_relay( 100 ), 'a place whose holder is gone is free' );
	}

	public function test_an_answer_in_an_envelope_takes_no_place() {
		$this->settings( array( 'relay_max' => 1 ) );
		$request = new \WP_REST_Request( 'POST', '/stagedoor/v1/stream' );
		$request->set_header( 'Origin', \Stagedoor\Access::origin_of( home_url() ) );
		$request->set_body_params( $this->ask() );
		$request->set_query_params( array( '_envelope' => '1' ) );
		$this->assertSame( 400, rest_do_request( $request )->get_status() );
		$this->assertNotNull( Limiter::enter_relay( 100 ) );
	}

	public function test_a_place_that_was_taken_over_is_not_left_by_who_had_it() {
		$this->settings( array( 'relay_max' => 1 ) );
		$late = Limiter::enter_relay( -1 );
		$this->assertNotNull( Limiter::enter_relay( 100 ) );
		Limiter::leave_relay( $late );
		$this->assertNull( Limiter::enter_relay( 100 ) );
	}

	public function test_refused_questions_leave_no_rows() {
		global $wpdb;
		$this->settings( array( 'limit_guest' => 1 ) );
		$this->post( 'complete', $this->ask() );
		$count = 'SELECT count(*) FROM ' . Limiter::table();
		$rows  = $wpdb->get_var( $count );
		for ( $turn = 0; $turn < 5; $turn++ ) {
			$this->assertSame( 429, $this->post( 'complete', $this->ask() )->get_status() );
		}
		$this->assertSame( $rows, $wpdb->get_var( $count ) );
	}

	public function test_nobody_waits_for_a_gateway_that_hung_a_moment_ago() {
		set_transient( \Stagedoor\Client::NO_GRANTS, 'down', 15 );
		$answer = $this->post( 'grants', $this->ask() );
		$this->assertSame( array( 502, 'unreachable' ), array( $answer->get_status(), $answer->get_data()['data']['kind'] ) );
		$this->assertSame( array(), $this->sent );
		delete_transient( \Stagedoor\Client::NO_GRANTS );
	}

	public function test_addresses_are_not_in_the_counts() {
		global $wpdb;
		$this->post( 'complete', $this->ask() );
		$rows = wp_json_encode( $wpdb->get_results( 'SELECT * FROM ' . Limiter::table() ) );
		$this->assertStringNotContainsString( '203.0.113', $rows );
	}

	public function test_hooks_change_what_is_asked() {
		$told = array();
		add_filter(
			'stagedoor_system_prompt',
			static function ( $prompt, $context, $feature ) {
				return "{$prompt}for {$feature}";
			},
			10,
			3
		);
		add_filter(
			'stagedoor_request_body',
			static function ( $body ) {
				$body['temperature'] = 0.5;
				$body['stream']      = 'nonsense';
				return $body;
			}
		);
		add_action(
			'stagedoor_stream_finished',
			static function ( $result ) use ( &$told ) {
				$told[] = $result;
			}
		);
		$this->post( 'complete', $this->ask() );
		$body = $this->last_body();
		$this->assertSame( array( 'for chat', 0.5, false ), array( $body['messages'][0]['content'], $body['temperature'], $body['stream'] ) );
		$this->assertSame( array( 'complete', 'buffered', 3, 2, 'server' ), array( $told[0]['status'], $told[0]['transport'], $told[0]['tokens_in'], $told[0]['tokens_out'], $told[0]['source'] ) );
	}

	public function test_hooks_are_told_what_begins_and_what_fails() {
		$told = array();
		add_action(
			'stagedoor_stream_started',
			static function ( $context ) use ( &$told ) {
				$told[] = $context;
			}
		);
		add_action(
			'stagedoor_failed',
			static function ( $error, $reason ) use ( &$told ) {
				$told[] = array( $error->get_error_code(), $reason );
			},
			10,
			2
		);
		$this->post( 'grants', $this->ask() );
		$this->gateway['/v1/stream_grants'] = array( 404, array( 'error' => array( 'code' => 'model_not_found', 'message' => 'No such model.' ) ) );
		$this->post( 'grants', $this->ask() );
		$this->assertSame( array( 'feature' => 'chat', 'post_id' => 0, 'transport' => 'direct', 'model' => 'model-a' ), $told[0] );
		$this->assertSame( array( 'stagedoor_model', 'No such model.' ), $told[1] );
	}

	public function test_a_hook_can_say_who_may_chat() {
		add_filter( 'stagedoor_can_chat', '__return_false' );
		$this->assertSame( 401, $this->post( 'complete', $this->ask() )->get_status() );
		remove_all_filters( 'stagedoor_can_chat' );
		add_filter(
			'stagedoor_can_chat',
			static function () {
				return new \WP_Error( 'closed', 'We are closed.', array( 'status' => 403 ) );
			}
		);
		$this->assertSame( 'We are closed.', $this->post( 'complete', $this->ask() )->get_data()['message'] );
	}

	/**
	 * @dataProvider management
	 */
	public function test_only_who_runs_the_site_sees_its_state( $method, $route ) {
		wp_set_current_user( $this->user( 'editor' ) );
		$this->assertSame( 403, rest_do_request( new \WP_REST_Request( $method, '/stagedoor/v1/' . $route ) )->get_status() );
	}

	public static function management() {
		return array( array( 'GET', 'status' ), array( 'GET', 'usage' ), array( 'POST', 'trial' ), array( 'POST', 'verdict' ), array( 'GET', 'probe' ) );
	}

	public function test_the_state_never_says_the_key() {
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->gateway['/v1/models'] = array( 200, array( 'data' => array( array( 'id' => 'model-a' ) ) ) );
		$data                        = rest_do_request( new \WP_REST_Request( 'GET', '/stagedoor/v1/status' ) )->get_data();
		$this->assertTrue( $data['ok'] );
		$this->assertStringNotContainsString( self::KEY, wp_json_encode( $data ) );
	}

	public function test_a_session_is_for_our_own_pages() {
		$bare = new \WP_REST_Request( 'GET', '/stagedoor/v1/session' );
		$this->assertSame( 403, rest_do_request( $bare )->get_status() );
		$bare->set_header( 'X-Stagedoor-Session', '1' );
		$bare->set_header( 'Origin', 'https://evil.example' );
		$this->assertSame( 403, rest_do_request( $bare )->get_status() );
		$bare->remove_header( 'Origin' );
		$data = rest_do_request( $bare )->get_data();
		$this->assertSame( array( null, true, 20 ), array( $data['nonce'], $data['can_chat'], $data['left'] ) );
	}

	public function test_reports_of_browsers_are_taken_once_and_marked_as_such() {
		$told = array();
		add_action(
			'stagedoor_stream_finished',
			static function ( $result ) use ( &$told ) {
				$told[] = $result;
			}
		);
		$given = $this->post( 'grants', $this->ask() )->get_data();
		$this->assertTrue( $given['report'] );
		$report = array( 'ticket' => $given['ticket'], 'status' => 'aborted', 'ms' => 1200, 'usage' => array( 'completion_tokens' => 4 ) );
		$this->assertSame( 200, $this->post( 'report', $report )->get_status() );
		$this->assertSame( 400, $this->post( 'report', $report )->get_status() );
		$this->assertSame( 400, $this->post( 'report', array( 'ticket' => 'forged' ) )->get_status() );
		$this->assertCount( 1, $told );
		$this->assertSame( array( true, 'browser', 'direct', 4 ), array( $told[0]['aborted'], $told[0]['source'], $told[0]['transport'], $told[0]['tokens_out'] ) );
	}

	private function hits( $of ) {
		global $wpdb;
		return $wpdb->get_var( $wpdb->prepare( 'SELECT SUM(hits) FROM ' . Limiter::table() . ' WHERE name LIKE %s', $of . ':%' ) );
	}
}
