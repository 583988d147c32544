<?php
/**
 * How answers travel on this site: what the owner chose, else what was measured.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The order of the transports.
 */
final class Verdict {

	const OPTION  = 'stagedoor_verdict';
	const KEPT_S  = 7 * DAY_IN_SECONDS;
	const RESULTS = array( 'ok', 'buffered', 'failed' );

	const GAP_MS_MIN   = 60.0; // The probe's frames are 150 ms apart; closer than this, they were held back.
	const FRAMES       = 5;
	const FRAME_GAP_MS = 150;

	/**
	 * The transports to try, in order.
	 *
	 * @param array<string, mixed> $context The chat's settings.
	 * @return string[]
	 */
	public static function order( array $context = array() ) {
		$chosen = Settings::get( 'transport' );
		if ( 'auto' === $chosen ) {
			$found = self::found();
			$order = array( 'direct', 'relay', 'buffered' );
			if ( 'failed' === $found['direct'] ) {
				$order = array_diff( $order, array( 'direct' ) );
			}
			if ( 'ok' !== $found['relay'] && '' !== $found['relay'] ) {
				// A relay that is held back is a spinner that holds a worker: so is one piece, with less to break.
				$order = array_diff( $order, array( 'relay' ) );
			}
		} else {
			$order = 'buffered' === $chosen ? array( 'buffered' ) : array( $chosen, 'buffered' );
		}
		/**
		 * Filters how answers travel.
		 *
		 * @param string[]             $order   Of direct, relay and buffered; the first that works is used.
		 * @param array<string, mixed> $context The chat's settings.
		 */
		$order = (array) apply_filters( 'stagedoor_transport', array_values( $order ), $context );
		return array_values( array_intersect( $order, array( 'direct', 'relay', 'buffered' ) ) );
	}

	/**
	 * What was measured, while it is believed.
	 *
	 * @return array{direct: string, relay: string, gap_ms: float, checked_at: int}
	 */
	public static function found() {
		$found = get_option( self::OPTION );
		$empty = array( 'direct' => '', 'relay' => '', 'gap_ms' => 0.0, 'checked_at' => 0 );
		if ( ! is_array( $found ) || ! isset( $found['checked_at'] ) || $found['checked_at'] < time() - self::KEPT_S ) {
			return $empty;
		}
		return array_merge( $empty, $found );
	}

	/**
	 * Keep what a test found.
	 *
	 * @param array<string, mixed> $found direct, relay: ok, buffered or failed; gap_ms.
	 * @return void
	 */
	public static function keep( array $found ) {
		$kept = self::found();
		foreach ( array( 'direct', 'relay' ) as $name ) {
			if ( isset( $found[ $name ] ) && in_array( $found[ $name ], self::RESULTS, true ) ) {
				$kept[ $name ] = $found[ $name ];
			}
		}
		$kept['gap_ms']     = isset( $found['gap_ms'] ) ? round( (float) $found['gap_ms'], 1 ) : $kept['gap_ms'];
		$kept['checked_at'] = time();
		update_option( self::OPTION, $kept, false );
	}

	/**
	 * Forget it: something changed.
	 *
	 * @return void
	 */
	public static function forget() {
		delete_option( self::OPTION );
	}

	/**
	 * The probe's address, for this server itself, for a minute.
	 *
	 * @return string
	 */
	public static function probe_url() {
		return add_query_arg( 'pass', rawurlencode( Sealed::seal( 'probe', time() + MINUTE_IN_SECONDS ) ), rest_url( 'stagedoor/v1/probe' ) );
	}

	/**
	 * Whether somebody may run the probe: it holds a worker for most of a second.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return bool
	 */
	public static function may_probe( \WP_REST_Request $request ) {
		$until = Sealed::open( 'probe', $request->get_param( 'pass' ) );
		return ( is_int( $until ) && $until >= time() ) || current_user_can( 'stagedoor_manage' );
	}

	/**
	 * Send a few frames, one after the other.
	 *
	 * @return void
	 */
	public static function run_probe() {
		Sse_Out::prepare();
		$out = new Sse_Out();
		for ( $frame = 0; $frame < self::FRAMES; $frame++ ) {
			$out->frame( (string) wp_json_encode( array( 'probe' => $frame ) ) );
			$out->flush();
			if ( $frame < self::FRAMES - 1 && ! $out->is_gone() ) {
				usleep( self::FRAME_GAP_MS * 1000 );
			}
		}
	}

	/**
	 * What times of arrival say.
	 *
	 * @param float[] $times_ms One per frame.
	 * @return array{relay: string, gap_ms: float}
	 */
	public static function judge( array $times_ms ) {
		if ( count( $times_ms ) < self::FRAMES ) {
			return array( 'relay' => 'failed', 'gap_ms' => 0.0 );
		}
		$gap_ms = ( end( $times_ms ) - reset( $times_ms ) ) / ( count( $times_ms ) - 1 );
		return array( 'relay' => $gap_ms >= self::GAP_MS_MIN ? 'ok' : 'buffered', 'gap_ms' => $gap_ms );
	}
}
