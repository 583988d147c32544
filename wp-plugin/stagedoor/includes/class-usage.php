<?php
/**
 * What the site has spent, against what it may: from the gateway, which counts. Asked for
 * now and then, never while somebody waits for an answer.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Usage, and whether a cap is reached.
 */
final class Usage {

	const TRANSIENT = 'stagedoor_usage';
	const REFRESHED = 'stagedoor_refreshed';
	const CAP       = 'stagedoor_cap';

	const KEPT_S = 5 * MINUTE_IN_SECONDS;

	/**
	 * Usage as the widget shows it.
	 *
	 * @param bool $fresh Whether to ask again, though the answer is known.
	 * @return array<string, mixed>
	 */
	public static function view( $fresh = false ) {
		$cached = $fresh ? false : get_transient( self::TRANSIENT );
		if ( is_array( $cached ) ) {
			return $cached;
		}
		$answer = Client::usage();
		if ( is_wp_error( $answer ) ) {
			$data = (array) $answer->get_error_data();
			return array(
				'ok'     => false,
				'reason' => isset( $data['reason'] ) ? $data['reason'] : $answer->get_error_message(),
				'old'    => isset( $data['upstream_status'] ) && 404 === $data['upstream_status'],
			);
		}
		$view = self::read( $answer );
		if ( null !== $view['cap'] && $view['spent'] < $view['cap'] ) {
			delete_option( self::CAP );
		} elseif ( null !== $view['cap'] && null !== $view['resets_at'] ) {
			self::remember_cap( __( 'The spending cap is reached.', 'stagedoor' ), (int) $view['resets_at'] );
		}
		set_transient( self::TRANSIENT, $view, self::KEPT_S );
		return $view;
	}

	/**
	 * A cap was reached, says the gateway.
	 *
	 * @param string $reason In its words.
	 * @return void
	 */
	public static function cap_reached( $reason ) {
		$known = get_option( self::CAP );
		if ( is_array( $known ) && $known['at'] > time() - HOUR_IN_SECONDS ) {
			return; // Once an hour is enough: each refusal would write the same.
		}
		self::remember_cap( $reason, 0 );
		delete_transient( self::TRANSIENT );
	}

	/**
	 * Keep it, for who runs the site.
	 *
	 * @param string $reason    Why.
	 * @param int    $resets_at When it begins anew; 0 when that is not known.
	 * @return void
	 */
	private static function remember_cap( $reason, $resets_at ) {
		update_option( self::CAP, array( 'at' => time(), 'reason' => $reason, 'resets_at' => $resets_at ), false );
	}

	/**
	 * Ask the gateway, unless that was done a minute ago.
	 *
	 * @return void
	 */
	public static function refresh_soon() {
		if ( false === get_transient( self::REFRESHED ) ) {
			set_transient( self::REFRESHED, 1, MINUTE_IN_SECONDS );
			self::view( true );
		}
	}

	/**
	 * Tell who runs the site that visitors get no answers, why, and until when.
	 *
	 * @return void
	 */
	public static function notice() {
		$screen = get_current_screen();
		if ( ! current_user_can( 'stagedoor_manage' ) || ! $screen || ! in_array( $screen->id, array( 'dashboard', 'settings_page_stagedoor', 'plugins' ), true ) ) {
			return;
		}
		$cap = get_option( self::CAP );
		if ( ! is_array( $cap ) || $cap['at'] < time() - MONTH_IN_SECONDS || ( $cap['resets_at'] && $cap['resets_at'] < time() ) ) {
			return;
		}
		$until = $cap['resets_at']
			/* translators: %s: date and time. */
			? ' ' . sprintf( __( 'It begins anew on %s.', 'stagedoor' ), wp_date( get_option( 'date_format' ) . ' ' . get_option( 'time_format' ), $cap['resets_at'] ) )
			: '';
		printf(
			'<div class="notice notice-warning"><p><strong>%1$s</strong> %2$s%3$s</p></div>',
			esc_html__( 'Stagedoor answers no questions for now.', 'stagedoor' ),
			esc_html( $cap['reason'] ),
			esc_html( $until )
		);
	}

	/**
	 * The gateway's answer, as far as we know it.
	 *
	 * @param array<string, mixed> $answer Decoded.
	 * @return array<string, mixed>
	 */
	private static function read( array $answer ) {
		return array(
			'ok'         => true,
			'spent'      => 0.0,
			'cap'        => null,
			'resets_at'  => null,
			'requests'   => 0,
			'features'   => array(),
			'checked_at' => time(),
		);
	}
}
