<?php
/**
 * What went wrong, in three voices: a kind for code, a kind sentence for visitors, and
 * the reason for who runs the site.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Failures, as `WP_Error`s that the REST API can send.
 */
final class Failure {

	const REASON_CHARS_MAX = 500;

	/**
	 * The gateway's codes, and which kind each is.
	 */
	const CODES = array(
		'insufficient_quota'      => 'cap',
		'rate_limit_exceeded'     => 'busy',
		'too_many_requests'       => 'busy',
		'invalid_api_key'         => 'key',
		'model_not_found'         => 'model',
		'context_length_exceeded' => 'too_long',
		'content_filter'          => 'filtered',
		'idempotency_key_reused'  => 'started',
		'too_many_grants'         => 'busy',
		'grant_used'              => 'started',
		'grant_expired'           => 'expired',
		'grant_unknown'           => 'expired',
		'grant_invalid'           => 'expired',
		'grant_revoked'           => 'expired',
		'grant_origin_mismatch'   => 'origin',
		'grant_audience_mismatch' => 'origin',
		'grant_prefetch'          => 'expired',
		'origin_not_allowed'      => 'origin',
	);

	/**
	 * What a visitor reads.
	 *
	 * @return array<string, string>
	 */
	public static function sentences() {
		return array(
			'cap'         => __( 'The assistant is taking a break: it has answered as much as it may for now. Please come back later.', 'stagedoor' ),
			'busy'        => __( 'Many people are asking right now. Please try again in a moment.', 'stagedoor' ),
			'limit'       => __( 'That is as many questions as one visitor may ask for now. Please come back a little later.', 'stagedoor' ),
			'members'     => __( 'Please log in to ask the assistant.', 'stagedoor' ),
			'forbidden'   => __( 'You may not use the assistant here.', 'stagedoor' ),
			'gone'        => __( 'This page has changed since you opened it. Please reload it and ask again.', 'stagedoor' ),
			'invalid'     => __( 'This question could not be read. Please reload the page and ask again.', 'stagedoor' ),
			'too_long'    => __( 'This is longer than the assistant can read. Please shorten it, or begin a new conversation.', 'stagedoor' ),
			'filtered'    => __( 'The assistant cannot answer this.', 'stagedoor' ),
			'started'     => __( 'The connection was lost while the assistant was answering. Please ask again if you still want to know.', 'stagedoor' ),
			'expired'     => __( 'This question waited too long. Please ask again.', 'stagedoor' ),
			'cut'         => __( 'The answer was interrupted.', 'stagedoor' ),
			'offline'     => __( 'You seem to be offline. Please check your connection and try again.', 'stagedoor' ),
			'unready'     => __( 'The assistant is not set up yet.', 'stagedoor' ),
			'key'         => __( 'The assistant is not available right now. Please try again later.', 'stagedoor' ),
			'model'       => __( 'The assistant is not available right now. Please try again later.', 'stagedoor' ),
			'origin'      => __( 'The assistant is not available right now. Please try again later.', 'stagedoor' ),
			'unreachable' => __( 'The assistant is not available right now. Please try again later.', 'stagedoor' ),
		);
	}

	/**
	 * What a browser may have to say by itself, where the gateway answers it directly.
	 *
	 * @return array<string, string>
	 */
	public static function sentences_of_browsers() {
		return array_intersect_key( self::sentences(), array_flip( array( 'cap', 'busy', 'limit', 'started', 'expired', 'cut', 'offline', 'unreachable', 'too_long', 'filtered' ) ) );
	}

	/**
	 * A failure of a kind.
	 *
	 * @param string               $kind   One of `sentences()`.
	 * @param int                  $status For HTTP.
	 * @param string               $reason For who runs the site.
	 * @param array<string, mixed> $more   For code.
	 * @return \WP_Error
	 */
	public static function of( $kind, $status, $reason = '', array $more = array() ) {
		$sentences = self::sentences();
		$data      = array_merge( array( 'status' => $status, 'kind' => $kind ), $more );
		if ( '' !== $reason && ( current_user_can( 'stagedoor_manage' ) || ( defined( 'WP_CLI' ) && WP_CLI ) ) ) {
			$data['reason'] = $reason;
		}
		$error = new \WP_Error( 'stagedoor_' . $kind, isset( $sentences[ $kind ] ) ? $sentences[ $kind ] : $sentences['unreachable'], $data );
		/**
		 * Fires when something could not be asked or answered.
		 *
		 * @param \WP_Error $error  Its data have `kind` and `status`.
		 * @param string    $reason Why, for who runs the site: never for visitors.
		 */
		do_action( 'stagedoor_failed', $error, $reason );
		return $error;
	}

	/**
	 * What the gateway said.
	 *
	 * @param int    $status      Its HTTP status.
	 * @param string $body        Its answer.
	 * @param string $retry_after Its Retry-After header.
	 * @return \WP_Error
	 */
	public static function from_gateway( $status, $body, $retry_after = '' ) {
		$error  = self::error_in( $body );
		$code   = isset( $error['code'] ) && is_string( $error['code'] ) ? $error['code'] : '';
		$reason = isset( $error['message'] ) && is_string( $error['message'] ) ? mb_substr( $error['message'], 0, self::REASON_CHARS_MAX ) : "HTTP status {$status}";
		$kind   = self::kind_of( $status, $code );
		$more   = array( 'upstream_status' => $status );
		if ( ctype_digit( $retry_after ) ) {
			$more['retry_after_s'] = (int) $retry_after;
		}
		if ( 'cap' === $kind ) {
			Usage::cap_reached( $reason );
		}
		// Their 4xx about our key or our settings is no fault of the visitor's.
		$ours = array( 'cap' => 429, 'busy' => 429, 'too_long' => 400, 'filtered' => 400, 'started' => 409, 'expired' => 409 );
		return self::of( $kind, isset( $ours[ $kind ] ) ? $ours[ $kind ] : 502, $reason, $more );
	}

	/**
	 * Remember a cap that somebody else's request to the gateway came upon.
	 *
	 * @param string $body The gateway's answer.
	 * @return void
	 */
	public static function notice_cap( $body ) {
		$error = self::error_in( $body );
		if ( isset( $error['code'], $error['message'] ) && 'insufficient_quota' === $error['code'] && is_string( $error['message'] ) ) {
			Usage::cap_reached( mb_substr( $error['message'], 0, self::REASON_CHARS_MAX ) );
		}
	}

	/**
	 * What the gateway says of an error.
	 *
	 * @param string $body Its answer.
	 * @return array<string, mixed>
	 */
	private static function error_in( $body ) {
		$json = json_decode( $body, true );
		$json = is_array( $json ) ? $json : array();
		return isset( $json['error'] ) && is_array( $json['error'] ) ? $json['error'] : $json;
	}

	/**
	 * The kind of an answer that is no answer.
	 *
	 * @param int    $status Its HTTP status.
	 * @param string $code   Its code.
	 * @return string
	 */
	private static function kind_of( $status, $code ) {
		if ( isset( self::CODES[ $code ] ) ) {
			return self::CODES[ $code ];
		}
		$statuses = array( 401 => 'key', 403 => 'key', 413 => 'too_long', 429 => 'busy', 503 => 'busy' );
		return isset( $statuses[ $status ] ) ? $statuses[ $status ] : 'unreachable';
	}

	/**
	 * The gateway could not be reached at all.
	 *
	 * @param \WP_Error $error What WordPress' HTTP API says.
	 * @return \WP_Error
	 */
	public static function network( \WP_Error $error ) {
		if ( 'wpai_connector_not_approved' === $error->get_error_code() ) {
			return self::of( 'unready', 503, __( 'Connector Approvals holds Stagedoor’s own requests back: approve Stagedoor for its connector on its screen.', 'stagedoor' ) );
		}
		return self::of( 'unreachable', 502, self::without_urls( $error->get_error_message() ) );
	}

	/**
	 * A message without what follows the host of an address: a grant's token is in there.
	 *
	 * @param string $message As it came.
	 * @return string
	 */
	private static function without_urls( $message ) {
		return mb_substr( (string) preg_replace( '#(https?://[^\s/]+)/\S*#', '$1/…', $message ), 0, self::REASON_CHARS_MAX );
	}
}
