<?php
/**
 * Speaks to the gateway, from PHP, by WordPress' HTTP API. Its errors are `WP_Error`s of
 * `Failure`'s kinds; the key is in the request's head and nowhere else.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The gateway's HTTP API.
 */
final class Client {

	const MODELS_TRANSIENT = 'stagedoor_models';
	const NO_GRANTS        = 'stagedoor_no_grants';

	const MODELS_KEPT_S  = 5 * MINUTE_IN_SECONDS;
	const ASK_AGAIN_S    = 10 * MINUTE_IN_SECONDS; // A gateway that knew no grants may be upgraded.
	const DOWN_S         = 15; // So long nobody waits for a gateway that does not answer.
	const QUICK_S        = 10; // For what the gateway answers from memory.
	const GRANT_S        = 4;  // The same, while a visitor waits and a worker with them.
	const RESPONSE_BYTES = 8388608;

	/**
	 * The models that this site's key may ask for.
	 *
	 * @param bool $fresh Whether to ask again, though the answer is known.
	 * @return string[]|\WP_Error
	 */
	public static function models( $fresh = false ) {
		$cached = $fresh ? false : get_transient( self::MODELS_TRANSIENT );
		if ( is_array( $cached ) ) {
			return $cached;
		}
		$answer = self::request( 'GET', '/v1/models' );
		if ( is_wp_error( $answer ) ) {
			return $answer;
		}
		$models = array();
		foreach ( isset( $answer['data'] ) && is_array( $answer['data'] ) ? $answer['data'] : array() as $model ) {
			if ( is_array( $model ) && isset( $model['id'] ) && is_string( $model['id'] ) ) {
				$models[] = $model['id'];
			}
		}
		set_transient( self::MODELS_TRANSIENT, $models, self::MODELS_KEPT_S );
		return $models;
	}

	/**
	 * Leave a request at the gateway for a browser to pick up.
	 *
	 * @param Question $question What is asked.
	 * @return array{url: string, expires_at: int}|null|\WP_Error Null where the gateway gives none: it is too old, or does not allow this site's origin.
	 */
	public static function grant( Question $question ) {
		$known = get_transient( self::NO_GRANTS );
		if ( 'down' === $known ) {
			return Failure::of( 'unreachable', 502, __( 'The gateway did not answer in time a moment ago.', 'stagedoor' ) );
		}
		if ( $known ) {
			return null;
		}
		$began  = microtime( true );
		$answer = self::request(
			'POST',
			'/v1/stream_grants',
			array(
				'endpoint' => '/v1/chat/completions',
				'origin'   => $question->origin(),
				'request'  => $question->body( true ),
			),
			$question->headers(),
			self::GRANT_S
		);
		if ( is_wp_error( $answer ) ) {
			$data   = $answer->get_error_data();
			$status = isset( $data['upstream_status'] ) ? $data['upstream_status'] : 0;
			if ( 0 === $status && microtime( true ) - $began >= self::GRANT_S - 1 ) {
				// It hangs. Were every visitor to wait for that, no worker would be left for the site.
				set_transient( self::NO_GRANTS, 'down', self::DOWN_S );
			}
			if ( 'origin' === $data['kind'] ) {
				set_transient( self::NO_GRANTS, 'origin', self::ASK_AGAIN_S );
				return null;
			}
			if ( in_array( $status, array( 404, 405, 501 ), true ) && 'model' !== $data['kind'] ) {
				set_transient( self::NO_GRANTS, 'old', self::ASK_AGAIN_S );
				return null;
			}
			return $answer;
		}
		if ( empty( $answer['url'] ) || ! is_string( $answer['url'] ) ) {
			return Failure::of( 'unreachable', 502, 'the gateway’s grant has no url' );
		}
		return array(
			'url'        => self::in_public( $answer['url'] ),
			'expires_at' => isset( $answer['expires_at'] ) ? (int) $answer['expires_at'] : time() + MINUTE_IN_SECONDS,
		);
	}

	/**
	 * A whole answer, in one piece.
	 *
	 * @param Question $question What is asked.
	 * @return array<string, mixed>|\WP_Error Text, finish and usage.
	 */
	public static function complete( Question $question ) {
		$answer = self::request( 'POST', '/v1/chat/completions', $question->body( false ), $question->headers(), (int) Settings::get( 'timeout_s' ) );
		return is_wp_error( $answer ) ? $answer : self::read_completion( $answer );
	}

	/**
	 * Pick up a grant's answer in one piece.
	 *
	 * @param string $url    The grant's.
	 * @param string $origin Whom it was made for.
	 * @return array<string, mixed>|\WP_Error
	 */
	public static function redeem( $url, $origin ) {
		$response = wp_remote_get( self::in_private( $url ), self::arguments( array( 'Origin' => $origin, 'Accept' => 'text/event-stream' ), (int) Settings::get( 'timeout_s' ) ) );
		if ( is_wp_error( $response ) ) {
			return Failure::network( $response );
		}
		$body   = (string) wp_remote_retrieve_body( $response );
		$status = (int) wp_remote_retrieve_response_code( $response );
		if ( $status >= 400 ) {
			return Failure::from_gateway( $status, $body, (string) wp_remote_retrieve_header( $response, 'retry-after' ) );
		}
		$json = json_decode( $body, true );
		if ( is_array( $json ) ) {
			return self::read_completion( $json );
		}
		$parser = new Sse_Parser();
		$parser->feed( $body );
		$parser->end();
		return null !== $parser->error ? Failure::from_gateway( 502, (string) wp_json_encode( $parser->error ) ) : $parser->summary();
	}

	/**
	 * What this site has spent, against what it may.
	 *
	 * @return array<string, mixed>|\WP_Error
	 */
	public static function usage() {
		return self::request( 'GET', '/v1/usage' );
	}

	/**
	 * One request, one JSON answer.
	 *
	 * @param string                $method    GET or POST.
	 * @param string                $path      Below the gateway's address.
	 * @param array|null            $body      Sent as JSON.
	 * @param array<string, string> $headers   More headers.
	 * @param int                   $timeout_s How long to wait.
	 * @return array<string, mixed>|\WP_Error
	 */
	public static function request( $method, $path, $body = null, array $headers = array(), $timeout_s = self::QUICK_S ) {
		if ( ! Settings::is_ready() ) {
			return Failure::of( 'unready', 503, 'no address or no key is set' );
		}
		$arguments           = self::arguments( array_merge( array( 'Accept' => 'application/json' ), self::authorization(), $headers ), $timeout_s );
		$arguments['method'] = $method;
		if ( null !== $body ) {
			$arguments['headers']['Content-Type'] = 'application/json';
			$arguments['body']                    = wp_json_encode( $body );
		}
		$response = wp_remote_request( Settings::base_url() . $path, $arguments );
		if ( is_wp_error( $response ) ) {
			return Failure::network( $response );
		}
		$status = (int) wp_remote_retrieve_response_code( $response );
		$text   = (string) wp_remote_retrieve_body( $response );
		if ( $status >= 300 ) {
			return Failure::from_gateway( $status, $text, (string) wp_remote_retrieve_header( $response, 'retry-after' ) );
		}
		$json = json_decode( $text, true );
		return is_array( $json ) ? $json : Failure::of( 'unreachable', 502, 'what answers at the gateway’s address does not speak JSON' );
	}

	/**
	 * What every call says and how long it may take.
	 *
	 * @param array<string, string> $headers   More headers.
	 * @param int                   $timeout_s How long to wait.
	 * @return array<string, mixed>
	 */
	public static function arguments( array $headers, $timeout_s ) {
		return array(
			'headers'             => array_merge( self::identity(), $headers ),
			'timeout'             => $timeout_s,
			'redirection'         => 0, // The key goes to the address that was set, and nowhere else.
			'user-agent'          => 'Stagedoor-WordPress/' . VERSION,
			'limit_response_size' => self::RESPONSE_BYTES,
			'reject_unsafe_urls'  => ! self::may_be_private(),
		);
	}

	/**
	 * Which client this is: the gateway serves old ones differently.
	 *
	 * @return array<string, string>
	 */
	public static function identity() {
		return array( 'X-Stagedoor-Client' => 'wordpress-plugin/' . VERSION );
	}

	/**
	 * The key, for the head of a request.
	 *
	 * @return array<string, string>
	 */
	public static function authorization() {
		return array( 'Authorization' => 'Bearer ' . Settings::api_key() );
	}

	/**
	 * An answer of /v1/chat/completions.
	 *
	 * @param array<string, mixed> $answer Decoded.
	 * @return array<string, mixed>|\WP_Error
	 */
	private static function read_completion( array $answer ) {
		$choice = isset( $answer['choices'][0] ) && is_array( $answer['choices'][0] ) ? $answer['choices'][0] : null;
		if ( null === $choice ) {
			return Failure::of( 'unreachable', 502, 'the gateway’s answer has no choice' );
		}
		$text = isset( $choice['message']['content'] ) ? $choice['message']['content'] : '';
		return array(
			'text'   => is_string( $text ) ? $text : '',
			'finish' => isset( $choice['finish_reason'] ) ? (string) $choice['finish_reason'] : '',
			'usage'  => isset( $answer['usage'] ) && is_array( $answer['usage'] ) ? $answer['usage'] : array(),
		);
	}

	/**
	 * A grant's address as browsers reach it.
	 *
	 * @param string $url As the gateway made it.
	 * @return string
	 */
	private static function in_public( $url ) {
		return self::move( $url, Settings::public_url() );
	}

	/**
	 * A grant's address as PHP reaches it.
	 *
	 * @param string $url As browsers reach it.
	 * @return string
	 */
	public static function in_private( $url ) {
		return self::move( $url, Settings::base_url() );
	}

	/**
	 * The same path and query below another address. A gateway behind a proxy does not
	 * know how it is reached; whoever set the plugin up does.
	 *
	 * @param string $url  The address.
	 * @param string $base Where it shall be.
	 * @return string
	 */
	private static function move( $url, $base ) {
		$parts  = wp_parse_url( $url );
		$path   = ( isset( $parts['path'] ) ? $parts['path'] : '/' ) . ( isset( $parts['query'] ) ? '?' . $parts['query'] : '' );
		$folder = (string) wp_parse_url( $base, PHP_URL_PATH );
		if ( '' !== $folder && 0 === strpos( $path, $folder . '/' ) ) {
			$path = substr( $path, strlen( $folder ) );
		}
		return $base . $path;
	}

	/**
	 * Whether the gateway may be on a private address. On a network, the owner of one site
	 * must not make the server reach what is behind it; who can edit wp-config.php may.
	 *
	 * @return bool
	 */
	private static function may_be_private() {
		return ! is_multisite() || Settings::base_url_is_fixed();
	}

	/**
	 * Let core's own AI client reach a gateway on a private address: that one and no other.
	 *
	 * @param bool   $is_external As found so far.
	 * @param string $host        The host.
	 * @param string $url         Where to.
	 * @return bool
	 */
	public static function host_is_external( $is_external, $host, $url ) {
		return $is_external || ( self::may_be_private() && self::is_ours( $url ) );
	}

	/**
	 * The same for its port.
	 *
	 * @param int[]  $ports As found so far.
	 * @param string $host  The host.
	 * @param string $url   Where to.
	 * @return int[]
	 */
	public static function safe_ports( $ports, $host, $url ) {
		$port = wp_parse_url( $url, PHP_URL_PORT );
		if ( $port && self::may_be_private() && self::is_ours( $url ) ) {
			$ports[] = (int) $port;
		}
		return $ports;
	}

	/**
	 * Whether an address is below the gateway's.
	 *
	 * @param string $url The address.
	 * @return bool
	 */
	public static function is_ours( $url ) {
		$base = Settings::base_url();
		return '' !== $base && 0 === strpos( $url, $base . '/' );
	}

	/**
	 * Forget what was learnt of the gateway.
	 *
	 * @return void
	 */
	public static function forget() {
		delete_transient( self::MODELS_TRANSIENT );
		delete_transient( self::NO_GRANTS );
		delete_transient( Usage::TRANSIENT );
		Provider::forget();
	}
}
