<?php
/**
 * The plugin was deleted: leave nothing, on any site, unless the owner wants to keep it.
 *
 * @package Stagedoor
 */

if ( ! defined( 'WP_UNINSTALL_PLUGIN' ) ) {
	exit;
}

/**
 * Remove everything of the current site.
 *
 * @return void
 */
function stagedoor_uninstall_site() {
	global $wpdb;
	$settings = get_option( 'stagedoor_settings', array() );
	wp_clear_scheduled_hook( 'stagedoor_daily' );
	if ( is_array( $settings ) && isset( $settings['delete_on_uninstall'] ) && ! $settings['delete_on_uninstall'] ) {
		return;
	}
	foreach ( array( 'stagedoor_settings', 'stagedoor_schema', 'stagedoor_verdict', 'stagedoor_cap', 'connectors_ai_stagedoor_api_key' ) as $stagedoor_option ) {
		delete_option( $stagedoor_option );
	}
	foreach ( array( 'stagedoor_models', 'stagedoor_no_grants', 'stagedoor_usage', 'stagedoor_refreshed' ) as $stagedoor_transient ) {
		delete_transient( $stagedoor_transient );
	}
	$wpdb->query( $wpdb->prepare( 'DROP TABLE IF EXISTS %i', $wpdb->prefix . 'stagedoor_counts' ) );
	$wpdb->query( $wpdb->prepare( 'DROP TABLE IF EXISTS %i', $wpdb->prefix . 'stagedoor_transcripts' ) );
	$granted = get_users(
		array(
			'meta_key'     => $wpdb->get_blog_prefix() . 'capabilities',
			'meta_value'   => 'stagedoor_',
			'meta_compare' => 'LIKE',
		)
	);
	foreach ( array( 'stagedoor_manage', 'stagedoor_generate', 'stagedoor_chat' ) as $cap ) {
		foreach ( wp_roles()->role_objects as $role ) {
			if ( $role->has_cap( $cap ) ) {
				$role->remove_cap( $cap );
			}
		}
		foreach ( $granted as $user ) {
			$user->remove_cap( $cap );
		}
	}
}

if ( is_multisite() ) {
	foreach ( get_sites( array( 'fields' => 'ids', 'number' => 0 ) ) as $stagedoor_site ) {
		switch_to_blog( $stagedoor_site );
		stagedoor_uninstall_site();
		restore_current_blog();
	}
} else {
	stagedoor_uninstall_site();
}
