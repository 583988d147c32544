<?php
/**
 * Server-sent events towards the browser, past whatever wants to hold them back.
 *
 * Apache hands the output of PHP-FPM on in pieces of 4 KiB unless it is told to flush
 * packets, which no header does: there each flush is filled up with a comment.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * A stream to the browser. Its head is sent with its first byte, not before.
 */
final class Sse_Out {

	const PAD_BYTES  = 4096;
	const PAD_GAP_MS = 80.0; // A padded flush costs 4 KiB: twelve a second look as alive as fifty.

	/**
	 * Whether the head has gone out.
	 *
	 * @var bool
	 */
	public $is_open = false;

	/**
	 * Whether flushes are filled up.
	 *
	 * @var bool
	 */
	private $pads;

	/**
	 * What waits for the next flush.
	 *
	 * @var string
	 */
	private $waiting = '';

	/**
	 * When the last flush was.
	 *
	 * @var float
	 */
	private $flushed_ms = 0.0;

	/**
	 * Make one.
	 */
	public function __construct() {
		$this->pads = self::needs_padding();
	}

	/**
	 * Whether this server holds small writes back.
	 *
	 * @return bool
	 */
	public static function needs_padding() {
		$padding = Settings::get( 'padding' );
		if ( 'auto' !== $padding ) {
			return 'on' === $padding;
		}
		$server = isset( $_SERVER['SERVER_SOFTWARE'] ) ? sanitize_text_field( wp_unslash( $_SERVER['SERVER_SOFTWARE'] ) ) : '';
		return 'fpm-fcgi' === PHP_SAPI && false !== stripos( $server, 'apache' );
	}

	/**
	 * Get everything out of the way that collects output, and keep the process in charge.
	 *
	 * `ignore_user_abort( true )`: PHP must not die in the middle of a transfer when the
	 * visitor leaves, or nobody closes the socket to the gateway and it generates on. We
	 * look for ourselves whether somebody still reads.
	 *
	 * @return void
	 */
	public static function prepare() {
		ignore_user_abort( true );
		if ( function_exists( 'set_time_limit' ) ) {
			set_time_limit( 0 ); // The transfer has its own bound.
		}
		if ( PHP_SESSION_ACTIVE === session_status() ) {
			session_write_close(); // Else the visitor's other requests wait for this one.
		}
		if ( ! defined( 'DONOTCACHEPAGE' ) ) {
			define( 'DONOTCACHEPAGE', true ); // phpcs:ignore WordPress.NamingConventions.PrefixAllGlobals -- The name that caches look for.
		}
		if ( ini_get( 'zlib.output_compression' ) && ! headers_sent() ) {
			ini_set( 'zlib.output_compression', '0' ); // phpcs:ignore -- Of this response alone: compression collects.
		}
		if ( function_exists( 'apache_setenv' ) ) {
			apache_setenv( 'no-gzip', '1' );
		}
		while ( ob_get_level() > 0 && ob_end_clean() ) {
			continue;
		}
	}

	/**
	 * One event.
	 *
	 * @param string $data Its data; line ends become lines of their own.
	 * @return void
	 */
	public function frame( $data ) {
		$this->write( 'data: ' . str_replace( "\n", "\ndata: ", str_replace( array( "\r\n", "\r" ), "\n", $data ) ) . "\n\n" );
	}

	/**
	 * A sign of life, which also finds out whether somebody still reads.
	 *
	 * @return void
	 */
	public function ping() {
		$this->write( ": ping\n\n" );
		$this->flush();
	}

	/**
	 * Whether the browser has left.
	 *
	 * @return bool
	 */
	public function is_gone() {
		return 1 === connection_aborted();
	}

	/**
	 * Flush what waits, unless the last flush was a moment ago.
	 *
	 * @return void
	 */
	public function maybe_flush() {
		if ( '' !== $this->waiting && microtime( true ) * 1000 - $this->flushed_ms >= self::PAD_GAP_MS ) {
			$this->flush();
		}
	}

	/**
	 * Send what waits.
	 *
	 * @return void
	 */
	public function flush() {
		if ( '' === $this->waiting ) {
			return;
		}
		if ( $this->pads ) {
			$missing = self::PAD_BYTES - strlen( $this->waiting ) % self::PAD_BYTES;
			// A comment: a colon, spaces, and the empty line that ends it.
			$this->waiting .= ':' . str_repeat( ' ', max( 0, $missing - 3 ) ) . "\n\n";
		}
		echo $this->waiting; // phpcs:ignore -- An event stream: JSON in data lines, never HTML.
		$this->waiting    = '';
		$this->flushed_ms = microtime( true ) * 1000;
		flush();
	}

	/**
	 * Add to what waits.
	 *
	 * @param string $bytes Whole frames.
	 * @return void
	 */
	private function write( $bytes ) {
		if ( ! $this->is_open ) {
			$this->is_open = true;
			if ( ! headers_sent() ) {
				status_header( 200 );
				header( 'Content-Type: text/event-stream; charset=utf-8' );
				header( 'Cache-Control: no-cache, no-transform, no-store' );
				header( 'X-Accel-Buffering: no' );
				header( 'X-Content-Type-Options: nosniff' );
				header_remove( 'Content-Length' );
			}
		}
		$this->waiting .= $bytes;
		if ( $this->pads ) {
			$this->maybe_flush();
		} else {
			$this->flush();
		}
	}
}
