<?php
/**
 * A test within a transaction, against a gateway that is made up: requests to it are
 * answered by `$this->gateway`, and remembered.
 */

namespace Stagedoor\Tests;

use PHPUnit\Framework\TestCase as Base;
use Stagedoor\Settings;

abstract class TestCase extends Base {

	const GATEWAY = 'https://gateway.test';
	const KEY     = 'sd-made-up-key-0001';

	/**
	 * Requests that were sent: url and arguments.
	 *
	 * @var array<int, array{url: string, args: array}>
	 */
	protected $sent = array();

	/**
	 * Answers: path => status and body, or a function of url and arguments.
	 *
	 * @var array<string, mixed>
	 */
	protected $gateway = array();

	protected function setUp(): void {
		global $wpdb;
		parent::setUp();
		$wpdb->query( 'START TRANSACTION' );
		wp_cache_flush();
		wp_set_current_user( 0 );
		update_option( Settings::OPTION, array( 'base_url' => self::GATEWAY, 'model' => 'model-a' ), false );
		update_option( Settings::KEY_OPTION, self::KEY, false );
		add_filter( 'pre_http_request', array( $this, 'answer' ), 10, 3 );
		set_error_handler(
			static function ( $number, $message, $file, $line ) {
				// Core and its database layer have their own; ours must not say a word.
				if ( false !== strpos( $file, '/stagedoor/' ) && false === strpos( $file, '/stagedoor/tests/' ) ) {
					throw new \ErrorException( $message, 0, $number, $file, $line );
				}
				return true;
			}
		);
	}

	protected function tearDown(): void {
		global $wpdb;
		restore_error_handler();
		remove_filter( 'pre_http_request', array( $this, 'answer' ), 10 );
		foreach ( array( 'request_body', 'system_prompt', 'can_chat', 'rate_limit', 'transport', 'sse_frame', 'chat_html', 'editor_actions', 'allowed_origins', 'client_address', 'stream_started', 'stream_finished', 'failed' ) as $hook ) {
			remove_all_filters( 'stagedoor_' . $hook );
		}
		$wpdb->query( 'ROLLBACK' );
		wp_cache_flush();
		unset( $_SERVER['HTTP_ORIGIN'], $_SERVER['HTTP_X_FORWARDED_FOR'], $_SERVER['HTTP_CF_CONNECTING_IP'] );
		$_SERVER['REMOTE_ADDR'] = '203.0.113.7';
		parent::tearDown();
	}

	/**
	 * Answer in the gateway's place.
	 */
	public function answer( $answer, $args, $url ) {
		$this->sent[] = array( 'url' => $url, 'args' => $args );
		$path         = (string) wp_parse_url( $url, PHP_URL_PATH );
		$found        = isset( $this->gateway[ $path ] ) ? $this->gateway[ $path ] : array( 404, array( 'error' => array( 'code' => 'not_found', 'message' => 'No such path.' ) ) );
		if ( $found instanceof \WP_Error ) {
			return $found;
		}
		return array(
			'headers'  => isset( $found[2] ) ? $found[2] : array(),
			'response' => array( 'code' => $found[0], 'message' => '' ),
			'body'     => is_string( $found[1] ) ? $found[1] : wp_json_encode( $found[1] ),
			'cookies'  => array(),
			'filename' => null,
		);
	}

	/**
	 * Change settings.
	 */
	protected function settings( array $values ) {
		update_option( Settings::OPTION, array_merge( Settings::all(), $values ), false );
	}

	/**
	 * A user of a role.
	 */
	protected function user( $role ) {
		$name = 'user' . wp_generate_password( 8, false );
		return wp_insert_user( array( 'user_login' => $name, 'user_pass' => 'x', 'user_email' => $name . '@example.com', 'role' => $role ) );
	}

	/**
	 * A request to one of our routes, as a page of this site sends it.
	 */
	protected function post( $route, array $body, $origin = null ) {
		$request = new \WP_REST_Request( 'POST', '/stagedoor/v1/' . $route );
		$request->set_header( 'Origin', null === $origin ? \Stagedoor\Access::origin_of( home_url() ) : $origin );
		$request->set_header( 'Content-Type', 'application/json' );
		$request->set_body( wp_json_encode( $body ) );
		return rest_do_request( $request );
	}

	/**
	 * A question's name.
	 */
	protected function name() {
		return wp_generate_uuid4();
	}

	/**
	 * A chat's reference, of no post.
	 */
	protected function chat( array $more = array() ) {
		return \Stagedoor\Chat::reference( array_merge( array( 'model' => '', 'system_prompt' => '', 'max_tokens' => 0 ), $more ), 0 );
	}

	/**
	 * A body that asks.
	 */
	protected function ask( $text = 'Hi', array $more = array() ) {
		return array_merge( array( 'chat' => $this->chat(), 'question' => $this->name(), 'messages' => array( array( 'role' => 'user', 'content' => $text ) ) ), $more );
	}

	/**
	 * The last request's body.
	 */
	protected function last_body() {
		$last = end( $this->sent );
		return json_decode( $last['args']['body'], true );
	}

	/**
	 * A whole answer of the gateway's.
	 */
	protected static function completion( $text = 'Hello' ) {
		return array( 200, array( 'choices' => array( array( 'message' => array( 'content' => $text ), 'finish_reason' => 'stop' ) ), 'usage' => array( 'prompt_tokens' => 3, 'completion_tokens' => 2 ) ) );
	}
}
