<?php
/**
 * The dashboard's widget: spend against cap, by what it was spent on.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The widget. Its numbers come by REST, so that the dashboard waits for no gateway.
 */
final class Dashboard {

	/**
	 * Add it.
	 *
	 * @return void
	 */
	public static function setup() {
		if ( current_user_can( 'stagedoor_manage' ) && Settings::is_ready() ) {
			wp_add_dashboard_widget( 'stagedoor_usage', __( 'Stagedoor usage', 'stagedoor' ), array( __CLASS__, 'render' ) );
			add_action( 'admin_enqueue_scripts', array( __CLASS__, 'enqueue' ) );
		}
	}

	/**
	 * Load its script.
	 *
	 * @param string $screen The screen.
	 * @return void
	 */
	public static function enqueue( $screen ) {
		if ( 'index.php' === $screen ) {
			Settings_Page::load_script();
		}
	}

	/**
	 * An empty frame.
	 *
	 * @return void
	 */
	public static function render() {
		echo '<div class="stagedoor-usage" aria-live="polite" aria-busy="true"><p>' . esc_html__( 'Asking the gateway …', 'stagedoor' ) . '</p></div>';
	}
}
