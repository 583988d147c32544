<?php
/**
 * `stagedoor/v1`: what the plugin's own scripts call. Nothing here takes a model, a
 * system prompt or a bound from a browser, and nothing here says the key.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The routes.
 */
final class Rest {

	const BASE = 'stagedoor/v1';

	/**
	 * Make them known.
	 *
	 * @return void
	 */
	public static function register() {
		$visitors = array( __CLASS__, 'may_ask' );
		$manage   = array( __CLASS__, 'may_manage' );
		$routes   = array(
			'/session'  => array( 'GET', 'session', array( __CLASS__, 'may_begin' ) ),
			'/grants'   => array( 'POST', 'grants', $visitors ),
			'/stream'   => array( 'POST', 'stream', $visitors ),
			'/complete' => array( 'POST', 'complete', $visitors ),
			'/report'   => array( 'POST', 'report', $visitors ),
			'/status'   => array( 'GET', 'status', $manage ),
			'/usage'    => array( 'GET', 'usage', $manage ),
			'/trial'    => array( 'POST', 'trial', $manage ),
			'/verdict'  => array( 'POST', 'verdict', $manage ),
			'/probe'    => array( 'GET', 'probe', array( Verdict::class, 'may_probe' ) ),
		);
		foreach ( $routes as $route => $what ) {
			register_rest_route(
				self::BASE,
				$route,
				array(
					'methods'             => $what[0],
					'callback'            => array( __CLASS__, $what[1] ),
					'permission_callback' => $what[2],
				)
			);
		}
	}

	/**
	 * Whether a page of this site sent it.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return true|\WP_Error
	 */
	public static function may_ask( \WP_REST_Request $request ) {
		return Access::is_same_origin( $request ) ? true : Failure::of( 'forbidden', 403, 'the request was not sent by a page of this site' );
	}

	/**
	 * A GET names no origin. A header of our own does as well: other sites' pages cannot
	 * send it, because WordPress does not allow it across origins.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return true|\WP_Error
	 */
	public static function may_begin( \WP_REST_Request $request ) {
		$origin = (string) $request->get_header( 'origin' );
		if ( '1' === $request->get_header( 'x_stagedoor_session' ) && ( '' === $origin || Access::is_same_origin( $request ) ) ) {
			return true;
		}
		return Failure::of( 'forbidden', 403, 'the request was not sent by a page of this site' );
	}

	/**
	 * Whether somebody runs the site.
	 *
	 * @return bool
	 */
	public static function may_manage() {
		return current_user_can( 'stagedoor_manage' );
	}

	/**
	 * Who is there. Pages are cached and have no nonce, or an old one: here is a fresh one
	 * for whoever is logged in by the cookie.
	 *
	 * @return \WP_REST_Response
	 */
	public static function session() {
		$user_id = wp_validate_auth_cookie( '', 'logged_in' );
		wp_set_current_user( $user_id ? (int) $user_id : 0 );
		return self::fresh(
			array_merge(
				array(
					'nonce'    => $user_id ? wp_create_nonce( 'wp_rest' ) : null,
					'can_chat' => current_user_can( 'stagedoor_chat' ),
					'manages'  => current_user_can( 'stagedoor_manage' ),
				),
				Limiter::left()
			)
		);
	}

	/**
	 * A grant: the browser picks the answer up at the gateway.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return \WP_REST_Response|\WP_Error
	 */
	public static function grants( \WP_REST_Request $request ) {
		$question = self::admit( $request );
		if ( is_wp_error( $question ) ) {
			return $question;
		}
		$grant = Client::grant( $question );
		if ( is_wp_error( $grant ) ) {
			Limiter::release( $question );
			return $grant;
		}
		if ( null === $grant ) {
			return self::fresh( array( 'transport' => 'relay', 'ticket' => Ticket::make( $question ) ) );
		}
		Transcripts::started( $question, 'direct' );
		Transcripts::keep( $question, array( 'status' => 'started' ) );
		return self::fresh(
			array(
				'transport'  => 'direct',
				'url'        => $grant['url'],
				'expires_at' => $grant['expires_at'],
				'ticket'     => Ticket::make( $question, $grant['url'] ),
				'report'     => Transcripts::wants_reports(),
			)
		);
	}

	/**
	 * Through PHP, piece by piece; `serve` does it, once the head can be sent.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return \WP_REST_Response|\WP_Error
	 */
	public static function stream( \WP_REST_Request $request ) {
		return self::in_a_place(
			$request,
			static function ( Question $question, $url, $place ) {
				Transcripts::started( $question, 'relay' );
				return new Stream_Response(
					static function () use ( $question, $url, $place ) {
						try {
							$relay = new Sse_Relay( $question, $url );
							return $relay->run();
						} finally {
							Limiter::leave_relay( $place );
						}
					}
				);
			}
		);
	}

	/**
	 * Through PHP, in one piece.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return \WP_REST_Response|\WP_Error
	 */
	public static function complete( \WP_REST_Request $request ) {
		return self::in_a_place(
			$request,
			static function ( Question $question, $url, $place ) {
				Transcripts::started( $question, 'buffered' );
				ignore_user_abort( true ); // The place is given back, whoever leaves.
				$began = microtime( true );
				try {
					$answer = null !== $url ? Client::redeem( $url, $question->origin() ) : Client::complete( $question );
				} finally {
					Limiter::leave_relay( $place );
				}
				$result = array(
					'status'    => is_wp_error( $answer ) ? 'refused' : 'complete',
					'aborted'   => false,
					'ms'        => (int) round( ( microtime( true ) - $began ) * 1000 ),
					'transport' => 'buffered',
					'source'    => 'server',
				);
				Transcripts::finished( $question, is_wp_error( $answer ) ? $result : array_merge( $answer, $result ) );
				if ( is_wp_error( $answer ) ) {
					Limiter::release( $question );
					return $answer;
				}
				return self::fresh( array( 'transport' => 'buffered', 'text' => $answer['text'], 'finish' => $answer['finish'] ) );
			}
		);
	}

	/**
	 * Take a place among the relays, then admit the question: who finds no place has used
	 * nothing up, and may ask the same again in a moment.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @param callable         $serve   Gets question, grant and place, which it gives back.
	 * @return \WP_REST_Response|\WP_Error
	 */
	private static function in_a_place( \WP_REST_Request $request, $serve ) {
		if ( null !== $request->get_param( '_envelope' ) || null !== $request->get_param( '_jsonp' ) ) {
			return Failure::of( 'invalid', 400, 'an answer in an envelope is no stream' );
		}
		$place = Limiter::enter_relay( (int) Settings::get( 'timeout_s' ) + 10 );
		if ( null === $place ) {
			return Failure::of( 'busy', 503, __( 'All places for relayed answers are taken (Settings → Stagedoor → Streaming).', 'stagedoor' ), array( 'retry_after_s' => 1, 'again' => true ) );
		}
		$ticket   = self::ticket( $request );
		$question = self::admit( $request, $ticket );
		if ( is_wp_error( $question ) ) {
			Limiter::leave_relay( $place );
			return $question;
		}
		return $serve( $question, $ticket ? $ticket['u'] : null, $place );
	}

	/**
	 * Check and count a question, once, whichever transport it comes by.
	 *
	 * @param \WP_REST_Request          $request The request.
	 * @param array<string, mixed>|null $ticket  Where it was counted before.
	 * @return Question|\WP_Error
	 */
	private static function admit( \WP_REST_Request $request, $ticket = null ) {
		if ( ! Settings::is_ready() ) {
			return Failure::of( 'unready', 503, 'no address or no key is set' );
		}
		$question = Question::from_request( $request );
		if ( is_wp_error( $question ) ) {
			return $question;
		}
		if ( $ticket ) {
			if ( ! Ticket::read( $request->get_param( 'ticket' ), $question ) ) {
				return Failure::of( 'invalid', 400, 'the ticket is for another question' );
			}
			return Limiter::claim( 'ticket|' . $request->get_param( 'ticket' ) ) ? $question : Failure::of( 'started', 409, 'this question’s ticket was used already' );
		}
		if ( ! Limiter::claim( 'question|' . $question->who() . '|' . $question->id ) ) {
			return Failure::of( 'started', 409, 'this question was asked already' );
		}
		$taken = Limiter::take( $question );
		if ( is_wp_error( $taken ) ) {
			Limiter::unclaim( 'question|' . $question->who() . '|' . $question->id ); // Or refusals would fill the table.
			return $taken;
		}
		return $question;
	}

	/**
	 * The ticket of a question that comes by its second transport.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return array<string, mixed>|null
	 */
	private static function ticket( \WP_REST_Request $request ) {
		$ticket = $request->get_param( 'ticket' );
		return null === $ticket ? null : Ticket::read( $ticket );
	}

	/**
	 * A browser tells how a grant's answer ended.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return \WP_REST_Response|\WP_Error
	 */
	public static function report( \WP_REST_Request $request ) {
		$ticket = Ticket::read( $request->get_param( 'ticket' ) );
		if ( ! $ticket || ! Limiter::claim( 'report|' . $request->get_param( 'ticket' ) ) ) {
			return Failure::of( 'invalid', 400, 'no such ticket, or it was told already' );
		}
		$status = $request->get_param( 'status' );
		$text   = $request->get_param( 'text' );
		$tokens = $request->get_param( 'usage' );
		Transcripts::reported(
			$ticket,
			array(
				'status'    => in_array( $status, array( 'complete', 'aborted', 'failed' ), true ) ? $status : 'failed',
				'aborted'   => 'aborted' === $status,
				'ms'        => max( 0, min( HOUR_IN_SECONDS * 1000, (int) $request->get_param( 'ms' ) ) ),
				'text'      => is_string( $text ) ? $text : '',
				'usage'     => is_array( $tokens ) ? array_map( 'intval', array_filter( $tokens, 'is_numeric' ) ) : array(),
				'transport' => 'direct',
				'source'    => 'browser',
			)
		);
		if ( 'cap' === $request->get_param( 'kind' ) ) {
			Usage::refresh_soon(); // Not believed, but reason enough to ask the gateway itself.
		}
		return self::fresh( array( 'ok' => true ) );
	}

	/**
	 * Whether the gateway can be reached and likes the key.
	 *
	 * @return \WP_REST_Response
	 */
	public static function status() {
		$models = Client::models( true );
		$error  = is_wp_error( $models ) ? $models : null;
		$data   = $error ? (array) $error->get_error_data() : array();
		return self::fresh(
			array(
				'ok'      => ! $error,
				'kind'    => $error ? $data['kind'] : null,
				'reason'  => $error ? ( isset( $data['reason'] ) ? $data['reason'] : $error->get_error_message() ) : null,
				'models'  => $error ? array() : $models,
				'version' => VERSION,
				'key'     => Settings::key_source(),
				'order'   => Verdict::order(),
				'verdict' => Verdict::found(),
			)
		);
	}

	/**
	 * What the site has spent.
	 *
	 * @return \WP_REST_Response
	 */
	public static function usage() {
		return self::fresh( Usage::view() );
	}

	/**
	 * A reference for the settings screen's trial.
	 *
	 * @return \WP_REST_Response
	 */
	public static function trial() {
		return self::fresh(
			array(
				'chat'  => Chat::reference( array( 'model' => '', 'system_prompt' => 'You are a test of a connection. Count as you are asked to, and say nothing else.', 'max_tokens' => 64 ), 0 ),
				'probe' => Verdict::probe_url(),
			)
		);
	}

	/**
	 * What the trial found, in the owner's browser.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return \WP_REST_Response
	 */
	public static function verdict( \WP_REST_Request $request ) {
		Verdict::keep( array( 'direct' => $request->get_param( 'direct' ), 'relay' => $request->get_param( 'relay' ), 'gap_ms' => (float) $request->get_param( 'gap_ms' ) ) );
		return self::fresh( array( 'order' => Verdict::order() ) );
	}

	/**
	 * Frames, one after the other.
	 *
	 * @return \WP_REST_Response
	 */
	public static function probe() {
		return new Stream_Response(
			static function () {
				Verdict::run_probe();
				return null;
			}
		);
	}

	/**
	 * Send what streams. WordPress has set its headers by now, and sent nothing.
	 *
	 * @param bool              $served  Whether somebody else has.
	 * @param \WP_HTTP_Response $result  What the route answered.
	 * @param \WP_REST_Request  $request The request.
	 * @return bool
	 */
	public static function serve( $served, $result, $request ) {
		if ( 0 === strpos( $request->get_route(), '/' . self::BASE . '/' ) && ! headers_sent() && ! Access::is_same_origin( $request ) ) {
			// Core lets every origin read every answer. Ours are for this site's pages.
			header_remove( 'Access-Control-Allow-Origin' );
			header_remove( 'Access-Control-Allow-Credentials' );
		}
		if ( $served || ! $result instanceof Stream_Response ) {
			return $served;
		}
		$error = call_user_func( $result->run );
		if ( is_wp_error( $error ) ) {
			$response = rest_convert_error_to_response( $error );
			status_header( $response->get_status() );
			header( 'Content-Type: application/json; charset=utf-8' );
			header( 'Cache-Control: no-store' );
			echo wp_json_encode( $response->get_data() );
		}
		return true;
	}

	/**
	 * An answer that nobody may keep.
	 *
	 * @param array<string, mixed> $data The answer.
	 * @return \WP_REST_Response
	 */
	private static function fresh( array $data ) {
		$response = new \WP_REST_Response( $data );
		$response->header( 'Cache-Control', 'no-store, private' );
		return $response;
	}
}
