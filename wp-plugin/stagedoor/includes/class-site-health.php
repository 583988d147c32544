<?php
/**
 * Tools → Site Health: does the gateway answer, and does this server let answers through
 * as they are written?
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Two tests, both run after the screen is there.
 */
final class Site_Health {

	/**
	 * Add them.
	 *
	 * @param array<string, mixed> $tests Those of others.
	 * @return array<string, mixed>
	 */
	public static function tests( $tests ) {
		$ours = array(
			'stagedoor_gateway' => array( __( 'Stagedoor gateway', 'stagedoor' ), 'gateway' ),
			'stagedoor_stream'  => array( __( 'Stagedoor streaming', 'stagedoor' ), 'streaming' ),
		);
		foreach ( $ours as $name => $test ) {
			$tests['async'][ $name ] = array(
				'label'             => $test[0],
				'test'              => $name,
				'async_direct_test' => array( __CLASS__, $test[1] ),
			);
		}
		return $tests;
	}

	/**
	 * The screen asks for the first.
	 *
	 * @return void
	 */
	public static function ajax_gateway() {
		self::answer( array( __CLASS__, 'gateway' ) );
	}

	/**
	 * The screen asks for the second.
	 *
	 * @return void
	 */
	public static function ajax_streaming() {
		self::answer( array( __CLASS__, 'streaming' ) );
	}

	/**
	 * Run a test for the screen.
	 *
	 * @param callable $test The test.
	 * @return void
	 */
	private static function answer( $test ) {
		check_ajax_referer( 'health-check-site-status' );
		if ( ! current_user_can( 'view_site_health_checks' ) ) {
			wp_send_json_error();
		}
		wp_send_json_success( call_user_func( $test ) );
	}

	/**
	 * Does the gateway answer, and does it know the key?
	 *
	 * @return array<string, mixed>
	 */
	public static function gateway() {
		if ( ! Settings::is_ready() ) {
			return self::result( 'gateway', 'recommended', __( 'Stagedoor is not set up', 'stagedoor' ), __( 'Enter the gateway’s address and this site’s key.', 'stagedoor' ) );
		}
		$models = Client::models( true );
		if ( is_wp_error( $models ) ) {
			$data = (array) $models->get_error_data();
			$why  = isset( $data['reason'] ) ? $data['reason'] : $models->get_error_message();
			$key  = 'key' === $data['kind'];
			return self::result( 'gateway', 'critical', $key ? __( 'The Stagedoor gateway does not accept this site’s key', 'stagedoor' ) : __( 'The Stagedoor gateway cannot be reached', 'stagedoor' ), $why );
		}
		$worries = Address::worries( Settings::base_url(), Settings::public_url() );
		if ( $worries ) {
			return self::result( 'gateway', 'recommended', __( 'The Stagedoor gateway answers, but not as it should', 'stagedoor' ), implode( ' ', $worries ) );
		}
		$model = (string) Settings::get( 'model' );
		if ( '' === $model || ! in_array( $model, $models, true ) ) {
			/* translators: %s: name of a model. */
			$why = '' === $model ? __( 'No default model is chosen.', 'stagedoor' ) : sprintf( __( 'The default model %s is not among those that this site may use.', 'stagedoor' ), $model );
			return self::result( 'gateway', 'recommended', __( 'Stagedoor has no model to ask', 'stagedoor' ), $why );
		}
		/* translators: %d: number of models. */
		return self::result( 'gateway', 'good', __( 'The Stagedoor gateway answers', 'stagedoor' ), sprintf( _n( 'This site may use %d model.', 'This site may use %d models.', count( $models ), 'stagedoor' ), count( $models ) ) );
	}

	/**
	 * Do frames that PHP sends arrive one by one?
	 *
	 * @return array<string, mixed>
	 */
	public static function streaming() {
		$times = Sse_Relay::measure( Verdict::probe_url() );
		if ( is_wp_error( $times ) ) {
			return self::result( 'streaming', 'recommended', __( 'Streaming could not be tested', 'stagedoor' ), $times->get_error_message() );
		}
		$judged = Verdict::judge( $times );
		Verdict::keep( $judged );
		$grants = get_transient( Client::NO_GRANTS );
		$direct = '';
		if ( 'origin' === $grants ) {
			/* translators: %s: this site's address. */
			$direct = ' ' . sprintf( __( 'The gateway gives no stream grants to this site: add %s to the allowed_origins of its key there, and answers need no PHP worker.', 'stagedoor' ), implode( ', ', Access::origins() ) );
		} elseif ( 'old' === $grants ) {
			$direct = ' ' . __( 'The gateway is too old for stream grants: with a newer one, answers need no PHP worker.', 'stagedoor' );
		}
		if ( 'ok' === $judged['relay'] ) {
			/* translators: %s: milliseconds. */
			return self::result( 'streaming', '' === $direct ? 'good' : 'recommended', __( 'This server lets streamed answers through', 'stagedoor' ), sprintf( __( 'Pieces that were sent 150 ms apart arrived %s ms apart.', 'stagedoor' ), number_format_i18n( $judged['gap_ms'] ) ) . $direct );
		}
		return self::result( 'streaming', 'recommended', __( 'This server holds streamed answers back', 'stagedoor' ), __( 'Pieces that were sent one by one arrived together: something between PHP and the browser collects them. Stagedoor then sends answers from the gateway to the browser, or in one piece. For Apache with PHP-FPM, set flushpackets=on or leave padding on “auto”; for nginx, do not ignore X-Accel-Buffering.', 'stagedoor' ) . $direct );
	}

	/**
	 * A result as the screen wants it.
	 *
	 * @param string $test   Its name.
	 * @param string $status good, recommended or critical.
	 * @param string $label  In one line.
	 * @param string $why    In a few.
	 * @return array<string, mixed>
	 */
	private static function result( $test, $status, $label, $why ) {
		$colors = array( 'good' => 'blue', 'recommended' => 'orange', 'critical' => 'red' );
		return array(
			'label'       => $label,
			'status'      => $status,
			'badge'       => array( 'label' => 'Stagedoor', 'color' => $colors[ $status ] ),
			'description' => '<p>' . esc_html( $why ) . '</p>',
			'actions'     => sprintf( '<p><a href="%s">%s</a></p>', esc_url( admin_url( 'options-general.php?page=stagedoor' ) ), esc_html__( 'Stagedoor settings', 'stagedoor' ) ),
			'test'        => 'stagedoor_' . $test,
		);
	}
}
