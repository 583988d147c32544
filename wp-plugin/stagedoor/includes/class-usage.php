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

	const KEPT_S       = 5 * MINUTE_IN_SECONDS;
	const FEATURES_MAX = 10; // What a widget has room for.

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
		self::follow( $view );
		set_transient( self::TRANSIENT, $view, self::KEPT_S );
		return $view;
	}

	/**
	 * Keep the notice in step with what the gateway says.
	 *
	 * @param array<string, mixed> $view Usage.
	 * @return void
	 */
	private static function follow( array $view ) {
		$known = get_option( self::CAP );
		if ( $view['reached'] ) {
			self::remember_cap( is_array( $known ) ? $known['reason'] : __( 'The spending cap is reached.', 'stagedoor' ), (int) $view['resets_at'] );
		} elseif ( is_array( $known ) && $known['at'] < time() - self::KEPT_S ) {
			delete_option( self::CAP ); // Money is back. A refusal of just now may be newer than the sums.
		} elseif ( is_array( $known ) && null !== $view['resets_at'] ) {
			update_option( self::CAP, array_merge( $known, array( 'resets_at' => (int) $view['resets_at'] ) ), false );
		}
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
	 * What of the gateway's answer is shown: the tightest hard cap of this site, and the
	 * last 30 days by what they were spent on.
	 *
	 * @param array<string, mixed> $answer Decoded.
	 * @return array<string, mixed>
	 */
	private static function read( array $answer ) {
		$cap      = isset( $answer['cap'] ) && is_array( $answer['cap'] ) ? $answer['cap'] : array();
		$total    = isset( $answer['total'] ) && is_array( $answer['total'] ) ? $answer['total'] : array();
		$features = array();
		foreach ( isset( $answer['features'] ) && is_array( $answer['features'] ) ? $answer['features'] : array() as $row ) {
			if ( is_array( $row ) && count( $features ) < self::FEATURES_MAX ) {
				$features[] = array(
					'label'    => self::label( isset( $row['feature'] ) && is_string( $row['feature'] ) ? $row['feature'] : '' ),
					'requests' => self::whole( $row, 'requests' ),
					'spent'    => self::usd( $row, 'cost_nanousd' ),
				);
			}
		}
		$resets_at = self::whole( $cap, 'resets_at' );
		return array(
			'ok'         => true,
			'spent'      => $cap ? self::usd( $cap, 'spent_nanousd' ) : self::usd( $total, 'cost_nanousd' ),
			'cap'        => $cap ? self::usd( $cap, 'max_nanousd' ) : null,
			// What is left may be less than any answer costs: then the cap is reached, too.
			'reached'    => $cap && 0 === self::whole( $cap, 'left_nanousd' ),
			'resets_at'  => $resets_at > 0 ? $resets_at : null,
			'requests'   => self::whole( $total, 'requests' ),
			'features'   => $features,
			'checked_at' => time(),
		);
	}

	/**
	 * A whole number of the answer.
	 *
	 * @param array<string, mixed> $row  Where.
	 * @param string               $name Which.
	 * @return int
	 */
	private static function whole( array $row, $name ) {
		return isset( $row[ $name ] ) && is_numeric( $row[ $name ] ) ? (int) $row[ $name ] : 0;
	}

	/**
	 * Nano-dollars of the answer, as dollars.
	 *
	 * @param array<string, mixed> $row  Where.
	 * @param string               $name Which.
	 * @return float
	 */
	private static function usd( array $row, $name ) {
		return self::whole( $row, $name ) / 1000000000.0;
	}

	/**
	 * What a feature is called here.
	 *
	 * @param string $feature As it was sent.
	 * @return string
	 */
	private static function label( $feature ) {
		$labels = array(
			'chat'   => __( 'Chat', 'stagedoor' ),
			'editor' => __( 'Writing help', 'stagedoor' ),
			'cli'    => __( 'Command line', 'stagedoor' ),
			''       => __( 'Other', 'stagedoor' ),
		);
		if ( isset( $labels[ $feature ] ) ) {
			return $labels[ $feature ];
		}
		if ( 0 !== strpos( $feature, Provider::FEATURE ) ) {
			return $feature;
		}
		$slug = substr( $feature, strlen( Provider::FEATURE ) );
		/* translators: %s: name of a plugin. */
		return sprintf( __( 'Plugin: %s', 'stagedoor' ), self::plugin_name( $slug ) );
	}

	/**
	 * The name of a plugin by its folder.
	 *
	 * @param string $slug The folder.
	 * @return string
	 */
	private static function plugin_name( $slug ) {
		if ( ! function_exists( 'get_plugins' ) ) {
			require_once ABSPATH . 'wp-admin/includes/plugin.php';
		}
		foreach ( get_plugins() as $file => $plugin ) {
			if ( strtok( $file, '/' ) === $slug || "{$slug}.php" === $file ) {
				return $plugin['Name'];
			}
		}
		return $slug;
	}
}
