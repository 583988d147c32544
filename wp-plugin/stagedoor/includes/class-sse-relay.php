<?php
/**
 * Gateway to browser through PHP, byte by byte as they come.
 *
 * The only file that touches curl, and only through WordPress' HTTP API: that has no way
 * to hand on a body while it comes, so its curl handle is told to call us. Without curl
 * the answer arrives in one piece, and is sent as one.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * One relayed answer.
 */
final class Sse_Relay {

	const PING_GAP_S      = 1.0; // Silence after which a ping finds out whether somebody reads.
	const SILENT_S_MAX    = 2.0; // Silence before the first byte, in which an error can still be plain JSON.
	const ERROR_BYTES_MAX = 65536;

	/**
	 * The question.
	 *
	 * @var Question
	 */
	private $question;

	/**
	 * The grant to pick up; null to ask anew.
	 *
	 * @var string|null
	 */
	private $url;

	/**
	 * Towards the browser.
	 *
	 * @var Sse_Out
	 */
	private $out;

	/**
	 * What was read.
	 *
	 * @var Sse_Parser
	 */
	private $parser;

	/**
	 * Whether the browser left.
	 *
	 * @var bool
	 */
	private $aborted = false;

	/**
	 * The gateway's status, once it is known.
	 *
	 * @var int
	 */
	private $status = 0;

	/**
	 * An answer that is no stream.
	 *
	 * @var string
	 */
	private $plain = '';

	/**
	 * When something was last sent.
	 *
	 * @var float
	 */
	private $sent_s;

	/**
	 * Whether curl called us.
	 *
	 * @var bool
	 */
	private $streamed = false;

	/**
	 * Whether anything has come.
	 *
	 * @var bool
	 */
	private $began = false;

	/**
	 * Whether no browser is there to be sent signs of life.
	 *
	 * @var bool
	 */
	private $quiet = false;

	/**
	 * Make one.
	 *
	 * @param Question    $question The question.
	 * @param string|null $url      The grant to pick up; null to ask anew.
	 */
	public function __construct( Question $question, $url = null ) {
		$this->question = $question;
		$this->url      = $url;
		$this->out      = new Sse_Out();
		$this->parser   = new Sse_Parser( array( $this, 'frame' ) );
		$this->sent_s   = microtime( true );
	}

	/**
	 * Relay.
	 *
	 * @return \WP_Error|null What to send instead, where nothing was sent yet.
	 */
	public function run() {
		$began = microtime( true );
		Sse_Out::prepare();
		$error = $this->transfer();
		if ( $error && ! $this->aborted ) {
			if ( '' === $this->parser->text ) {
				Limiter::release( $this->question );
			}
			if ( ! $this->out->is_open ) {
				Transcripts::finished( $this->question, self::result( 'refused', $this->parser->summary(), $began ) );
				return $error;
			}
			$this->error_frame( $error );
		}
		$this->out->flush();
		$outcome = $this->aborted ? 'aborted' : ( $error ? 'failed' : 'complete' );
		Transcripts::finished( $this->question, self::result( $outcome, $this->parser->summary(), $began ) );
		return null;
	}

	/**
	 * What became of it.
	 *
	 * @param string               $status  complete, aborted, failed or refused.
	 * @param array<string, mixed> $summary Text, finish and usage.
	 * @param float                $began   When.
	 * @return array<string, mixed>
	 */
	private static function result( $status, array $summary, $began ) {
		return array_merge(
			$summary,
			array(
				'status'    => $status,
				'aborted'   => 'aborted' === $status,
				'ms'        => (int) round( ( microtime( true ) - $began ) * 1000 ),
				'transport' => 'relay',
				'source'    => 'server',
			)
		);
	}

	/**
	 * Ask, and hand on what comes.
	 *
	 * @return \WP_Error|null
	 */
	private function transfer() {
		$timeout_s = (int) Settings::get( 'timeout_s' );
		if ( null !== $this->url ) {
			$url                 = Client::in_private( $this->url );
			$arguments           = Client::arguments( array( 'Origin' => $this->question->origin() ), $timeout_s );
			$arguments['method'] = 'GET';
		} else {
			$url       = Settings::base_url() . '/v1/chat/completions';
			$arguments = Client::arguments( array_merge( Client::authorization(), $this->question->headers() ), $timeout_s );

			$arguments['method']                  = 'POST';
			$arguments['headers']['Content-Type'] = 'application/json';
			$arguments['body']                    = wp_json_encode( $this->question->body( true ) );
		}
		$arguments['headers']['Accept']          = 'text/event-stream';
		$arguments['headers']['Accept-Encoding'] = 'identity';
		$arguments['decompress']                 = false;

		$response = self::follow(
			$url,
			$arguments,
			function ( $bytes, $status ) {
				$this->streamed = true;
				$this->status   = $status;
				$this->take( $bytes );
				return ! $this->aborted;
			},
			function () {
				$this->tick();
				return ! $this->aborted;
			}
		);
		if ( $this->aborted ) {
			return null;
		}
		if ( ! $this->streamed && ! is_wp_error( $response ) ) {
			$this->status = (int) wp_remote_retrieve_response_code( $response );
			$this->take( (string) wp_remote_retrieve_body( $response ) );
		}
		return $this->verdict( $response );
	}

	/**
	 * Whether what came was an answer.
	 *
	 * @param array|\WP_Error $response WordPress' own view.
	 * @return \WP_Error|null
	 */
	private function verdict( $response ) {
		if ( $this->status >= 300 ) {
			$retry_after = is_wp_error( $response ) ? '' : (string) wp_remote_retrieve_header( $response, 'retry-after' );
			return Failure::from_gateway( $this->status, $this->plain, $retry_after );
		}
		if ( '' !== $this->plain ) {
			$whole = json_decode( $this->plain, true );
			if ( is_array( $whole ) && isset( $whole['choices'][0]['message'] ) ) {
				$whole['choices'] = array( array_merge( $whole['choices'][0], array( 'delta' => $whole['choices'][0]['message'] ) ) );
				$this->parser->feed( 'data: ' . wp_json_encode( $whole ) . "\n\ndata: [DONE]\n\n" );
			}
		}
		$this->parser->end();
		if ( null !== $this->parser->error ) {
			return Failure::from_gateway( 502, (string) wp_json_encode( $this->parser->error ) );
		}
		if ( is_wp_error( $response ) ) {
			return '' === $this->parser->text ? Failure::network( $response ) : Failure::of( 'cut', 502, $response->get_error_message() );
		}
		if ( ! $this->parser->done && '' === $this->parser->finish ) {
			return '' === $this->parser->text ? Failure::of( 'unreachable', 502, 'the gateway’s answer was no event stream' ) : Failure::of( 'cut', 502, 'the gateway’s answer had no end' );
		}
		return null;
	}

	/**
	 * A request of WordPress' HTTP API whose body is handed on while it comes. Its own hook
	 * `http_api_curl` is where a transfer may be changed; without curl nobody is called,
	 * and the answer has the body.
	 *
	 * @param string               $url       Where to.
	 * @param array<string, mixed> $arguments As `wp_remote_request` takes them.
	 * @param callable             $take      Gets bytes and status; false ends the transfer.
	 * @param callable             $tick      Called often, also in silence; false ends the transfer.
	 * @return array|\WP_Error As `wp_remote_request` answers.
	 */
	public static function follow( $url, array $arguments, $take, $tick ) {
		// phpcs:disable WordPress.WP.AlternativeFunctions -- The HTTP API hands bodies on whole only.
		$hook = static function ( $handle, $parsed, $to ) use ( $url, $take, $tick ) {
			if ( $to !== $url ) {
				return;
			}
			curl_setopt(
				$handle,
				CURLOPT_WRITEFUNCTION,
				static function ( $same, $bytes ) use ( $take ) {
					// Another number than the bytes' ends the transfer, and closes the socket.
					return $take( $bytes, (int) curl_getinfo( $same, CURLINFO_RESPONSE_CODE ) ) ? strlen( $bytes ) : 0;
				}
			);
			curl_setopt(
				$handle,
				CURLOPT_PROGRESSFUNCTION,
				static function () use ( $tick ) {
					return $tick() ? 0 : 1;
				}
			);
			curl_setopt( $handle, CURLOPT_NOPROGRESS, false );
		};
		// phpcs:enable
		add_action( 'http_api_curl', $hook, 999, 3 );
		try {
			return wp_remote_request( $url, $arguments );
		} finally {
			remove_action( 'http_api_curl', $hook, 999 );
		}
	}

	/**
	 * Bytes from the gateway.
	 *
	 * @param string $bytes As they came.
	 * @return void
	 */
	private function take( $bytes ) {
		if ( $this->status >= 300 ) {
			$this->plain .= substr( $bytes, 0, self::ERROR_BYTES_MAX - strlen( $this->plain ) );
			return;
		}
		if ( '' !== $this->plain || ( ! $this->began && '{' === substr( ltrim( $bytes ), 0, 1 ) ) ) {
			// No event begins like that: the gateway answers this site in one piece.
			$this->plain .= substr( $bytes, 0, Client::RESPONSE_BYTES - strlen( $this->plain ) );
		} else {
			$this->parser->feed( $bytes );
		}
		$this->began = true;
		if ( ! $this->quiet ) {
			$this->look();
		}
	}

	/**
	 * One frame of the gateway's.
	 *
	 * @param string $data Its data.
	 * @return void
	 */
	public function frame( $data ) {
		if ( $this->aborted || null !== $this->parser->error ) {
			return; // An error is told in our own words, at the end.
		}
		/**
		 * Filters a frame on its way to the browser. Relay only: a grant's stream does not
		 * pass through PHP.
		 *
		 * @param string   $data     JSON of a chat completion chunk, or [DONE]. '' drops it.
		 * @param Question $question What was asked.
		 */
		$data = (string) apply_filters( 'stagedoor_sse_frame', $data, $this->question );
		if ( '' !== $data ) {
			$this->out->frame( $data );
			$this->sent_s = microtime( true );
		}
	}

	/**
	 * Nothing may have come for a while.
	 *
	 * @return void
	 */
	private function tick() {
		if ( $this->quiet ) {
			return;
		}
		$this->out->maybe_flush();
		$silent_s = microtime( true ) - $this->sent_s;
		if ( $silent_s >= ( $this->out->is_open ? self::PING_GAP_S : self::SILENT_S_MAX ) && $this->status < 300 ) {
			$this->out->ping();
			$this->sent_s = microtime( true );
		}
		$this->look();
	}

	/**
	 * Look whether somebody still reads.
	 *
	 * @return void
	 */
	private function look() {
		if ( $this->out->is_gone() ) {
			$this->aborted = true;
		}
	}

	/**
	 * Tell an error within the stream.
	 *
	 * @param \WP_Error $error The error.
	 * @return void
	 */
	private function error_frame( \WP_Error $error ) {
		$data = $error->get_error_data();
		$this->out->frame(
			(string) wp_json_encode(
				array(
					'error' => array_filter(
						array(
							'code'    => $error->get_error_code(),
							'kind'    => $data['kind'],
							'message' => $error->get_error_message(),
							'reason'  => isset( $data['reason'] ) ? $data['reason'] : null,
						)
					),
				)
			)
		);
	}

	/**
	 * Ask, and call back with each piece of text: for a terminal.
	 *
	 * @param Question $question The question.
	 * @param callable $on_delta Gets each piece.
	 * @return \WP_Error|null
	 */
	public static function pull( Question $question, $on_delta ) {
		$relay         = new self( $question );
		$shown         = 0;
		$relay->parser = new Sse_Parser(
			static function () use ( $relay, $on_delta, &$shown ) {
				$on_delta( substr( $relay->parser->text, $shown ) );
				$shown = strlen( $relay->parser->text );
			}
		);
		$relay->quiet  = true;
		return $relay->transfer();
	}

	/**
	 * Measure how long after one another the frames of this site's own probe arrive: the
	 * way from PHP through the web server, without the gateway.
	 *
	 * @param string $url       The probe's.
	 * @param int    $timeout_s How long to wait.
	 * @return float[]|\WP_Error Milliseconds after the request, one per frame.
	 */
	public static function measure( $url, $timeout_s = 10 ) {
		$began    = microtime( true );
		$times    = array();
		$parser   = new Sse_Parser(
			static function () use ( &$times, $began ) {
				$times[] = ( microtime( true ) - $began ) * 1000;
			}
		);
		$response = self::follow(
			$url,
			array(
				'method'    => 'GET',
				'timeout'   => $timeout_s,
				'sslverify' => apply_filters( 'https_local_ssl_verify', false ), // phpcs:ignore WordPress.NamingConventions.PrefixAllGlobals -- Core's own filter, as core uses it where it talks to itself.
				'headers'   => array( 'Accept-Encoding' => 'identity' ),
			),
			static function ( $bytes ) use ( $parser ) {
				$parser->feed( $bytes );
				return true;
			},
			'__return_true'
		);
		return is_wp_error( $response ) ? $response : $times;
	}
}
