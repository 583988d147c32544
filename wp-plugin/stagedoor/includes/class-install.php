<?php
/**
 * Tables and the daily job: made on activation, on an upgrade and for a new site of a
 * network; gone with the site.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Installing and tidying up.
 */
final class Install {

	const SCHEMA_OPTION = 'stagedoor_schema';
	const SCHEMA        = 1;

	/**
	 * The plugin was activated.
	 *
	 * @param bool $network_wide Whether for all sites of a network.
	 * @return void
	 */
	public static function activate( $network_wide = false ) {
		if ( is_multisite() && $network_wide ) {
			foreach ( get_sites( array( 'fields' => 'ids', 'number' => 0 ) ) as $site_id ) {
				switch_to_blog( $site_id );
				self::set_up();
				restore_current_blog();
			}
			return;
		}
		self::set_up();
	}

	/**
	 * The plugin was deactivated: it does nothing any more, and forgets nothing.
	 *
	 * @param bool $network_wide Whether for all sites of a network.
	 * @return void
	 */
	public static function deactivate( $network_wide = false ) {
		if ( is_multisite() && $network_wide ) {
			foreach ( get_sites( array( 'fields' => 'ids', 'number' => 0 ) ) as $site_id ) {
				switch_to_blog( $site_id );
				wp_clear_scheduled_hook( 'stagedoor_daily' );
				restore_current_blog();
			}
			return;
		}
		wp_clear_scheduled_hook( 'stagedoor_daily' );
	}

	/**
	 * Files may be newer than tables: after an update nobody activates anything.
	 *
	 * @return void
	 */
	public static function maybe_upgrade() {
		if ( (int) get_option( self::SCHEMA_OPTION ) !== self::SCHEMA ) {
			self::set_up();
		} elseif ( ! wp_next_scheduled( 'stagedoor_daily' ) ) {
			wp_schedule_event( time() + HOUR_IN_SECONDS, 'daily', 'stagedoor_daily' ); // It was deactivated for a while.
		}
	}

	/**
	 * A new site of a network where the plugin is active for all.
	 *
	 * @param \WP_Site $site The site.
	 * @return void
	 */
	public static function new_site( $site ) {
		if ( ! function_exists( 'is_plugin_active_for_network' ) ) {
			require_once ABSPATH . 'wp-admin/includes/plugin.php';
		}
		if ( is_plugin_active_for_network( plugin_basename( MAIN_FILE ) ) ) {
			switch_to_blog( (int) $site->blog_id );
			self::set_up();
			restore_current_blog();
		}
	}

	/**
	 * Tables of a site that is deleted go with it.
	 *
	 * @param string[] $tables What goes so far.
	 * @return string[]
	 */
	public static function dropped_tables( $tables ) {
		return array_merge( $tables, array( Limiter::table(), Transcripts::table() ) );
	}

	/**
	 * Once a day.
	 *
	 * @return void
	 */
	public static function daily() {
		Limiter::purge();
		Transcripts::purge();
	}

	/**
	 * Make what is missing.
	 *
	 * @return void
	 */
	public static function set_up() {
		global $wpdb;
		require_once ABSPATH . 'wp-admin/includes/upgrade.php';
		$charset = $wpdb->get_charset_collate();
		$counts  = Limiter::table();
		$kept    = Transcripts::table();
		dbDelta(
			"CREATE TABLE {$counts} (
				name varchar(80) NOT NULL,
				hits bigint(20) unsigned NOT NULL DEFAULT 0,
				ends_at bigint(20) unsigned NOT NULL DEFAULT 0,
				PRIMARY KEY  (name),
				KEY ends_at (ends_at)
			) {$charset};"
		);
		dbDelta(
			"CREATE TABLE {$kept} (
				id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
				question_id varchar(40) NOT NULL,
				asked_at datetime NOT NULL,
				user_id bigint(20) unsigned NOT NULL DEFAULT 0,
				post_id bigint(20) unsigned NOT NULL DEFAULT 0,
				status varchar(20) NOT NULL DEFAULT '',
				question longtext NOT NULL,
				answer longtext NOT NULL,
				PRIMARY KEY  (id),
				KEY question_id (question_id),
				KEY user_id (user_id),
				KEY asked_at (asked_at)
			) {$charset};"
		);
		update_option( self::SCHEMA_OPTION, self::SCHEMA, true );
		if ( ! wp_next_scheduled( 'stagedoor_daily' ) ) {
			wp_schedule_event( time() + HOUR_IN_SECONDS, 'daily', 'stagedoor_daily' );
		}
	}
}
