<?php
/**
 * Reads server-sent events of OpenAI's chat completions, however they were cut up.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * An incremental reader: feed it bytes, it calls back once a frame.
 */
final class Sse_Parser {

	const LINE_BYTES_MAX = 1048576; // A line this long is no delta of a text.
	const TEXT_BYTES_MAX = 4194304;

	/**
	 * The answer so far.
	 *
	 * @var string
	 */
	public $text = '';

	/**
	 * Why it ended; '' while it has not.
	 *
	 * @var string
	 */
	public $finish = '';

	/**
	 * Tokens, where they were told.
	 *
	 * @var array<string, mixed>
	 */
	public $usage = array();

	/**
	 * An error event, where one came.
	 *
	 * @var array<string, mixed>|null
	 */
	public $error = null;

	/**
	 * Whether [DONE] came.
	 *
	 * @var bool
	 */
	public $done = false;

	/**
	 * The unfinished line.
	 *
	 * @var string
	 */
	private $rest = '';

	/**
	 * The data lines of the unfinished frame.
	 *
	 * @var string[]
	 */
	private $data = array();

	/**
	 * Called with each frame's data, if set; what it returns is not looked at.
	 *
	 * @var callable|null
	 */
	private $on_frame;

	/**
	 * Make one.
	 *
	 * @param callable|null $on_frame Called with each frame's data.
	 */
	public function __construct( $on_frame = null ) {
		$this->on_frame = $on_frame;
	}

	/**
	 * Read on.
	 *
	 * @param string $bytes As they came.
	 * @return void
	 */
	public function feed( $bytes ) {
		$buffer = $this->rest . $bytes;
		$length = strlen( $buffer );
		$start  = 0;
		while ( true ) {
			$at = $start + strcspn( $buffer, "\r\n", $start );
			if ( $at >= $length || ( "\r" === $buffer[ $at ] && $at + 1 === $length ) ) {
				break; // A CR at the very end may be half of a CRLF: wait for the other half.
			}
			$this->line( substr( $buffer, $start, $at - $start ) );
			$start = $at + ( "\r" === $buffer[ $at ] && "\n" === $buffer[ $at + 1 ] ? 2 : 1 );
		}
		$this->rest = (string) substr( $buffer, $start );
		if ( strlen( $this->rest ) > self::LINE_BYTES_MAX ) {
			$this->rest = '';
		}
	}

	/**
	 * The stream is over; an unfinished frame is not an event.
	 *
	 * @return void
	 */
	public function end() {
		if ( "\r" === substr( $this->rest, -1 ) ) {
			$this->line( substr( $this->rest, 0, -1 ) ); // No half of a CRLF after all.
		}
		$this->rest = '';
		$this->data = array();
	}

	/**
	 * What was read, in one piece.
	 *
	 * @return array<string, mixed>
	 */
	public function summary() {
		return array(
			'text'   => $this->text,
			'finish' => $this->finish,
			'usage'  => $this->usage,
		);
	}

	/**
	 * One line.
	 *
	 * @param string $line Without its end.
	 * @return void
	 */
	private function line( $line ) {
		if ( '' === $line ) {
			if ( $this->data ) {
				$data       = implode( "\n", $this->data );
				$this->data = array();
				$this->frame( $data );
			}
			return;
		}
		if ( 0 === strpos( $line, 'data:' ) ) {
			$value        = substr( $line, 5 );
			$this->data[] = ' ' === substr( $value, 0, 1 ) ? substr( $value, 1 ) : $value;
		}
	}

	/**
	 * One frame.
	 *
	 * @param string $data Its data.
	 * @return void
	 */
	private function frame( $data ) {
		if ( '[DONE]' === $data ) {
			$this->done = true;
		} else {
			$this->read( json_decode( $data, true ) );
		}
		if ( $this->on_frame ) {
			call_user_func( $this->on_frame, $data );
		}
	}

	/**
	 * What a frame says.
	 *
	 * @param mixed $json Decoded.
	 * @return void
	 */
	private function read( $json ) {
		if ( ! is_array( $json ) ) {
			return;
		}
		if ( isset( $json['error'] ) && is_array( $json['error'] ) ) {
			$this->error = array( 'error' => $json['error'] );
		}
		if ( isset( $json['usage'] ) && is_array( $json['usage'] ) ) {
			$this->usage = $json['usage'];
		}
		$choice = isset( $json['choices'][0] ) && is_array( $json['choices'][0] ) ? $json['choices'][0] : array();
		if ( isset( $choice['delta']['content'] ) && is_string( $choice['delta']['content'] ) && strlen( $this->text ) < self::TEXT_BYTES_MAX ) {
			$this->text .= $choice['delta']['content'];
		}
		if ( isset( $choice['finish_reason'] ) && is_string( $choice['finish_reason'] ) ) {
			$this->finish = $choice['finish_reason'];
		}
	}
}
