<?php
/**
 * Which hook calls what. Nothing else in the plugin registers hooks at load time.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The plugin's wiring.
 */
final class Plugin {

	/**
	 * Hang the parts on WordPress' hooks.
	 *
	 * @return void
	 */
	public static function boot() {
		add_filter( 'map_meta_cap', array( Access::class, 'map_meta_cap' ), 10, 3 );
		add_action( 'init', array( Install::class, 'maybe_upgrade' ), 4 );
		add_action( 'init', array( Provider::class, 'register' ), 5 );
		add_action( 'init', array( Settings::class, 'register' ) );
		add_action( 'init', array( Chat::class, 'register' ) );
		add_action( 'rest_api_init', array( Rest::class, 'register' ) );
		add_filter( 'posts_search', array( Search::class, 'without_prompts' ), 100, 2 );
		add_filter( 'rest_request_before_callbacks', array( Chat::class, 'preview' ), 10, 3 );
		add_filter( 'rest_request_after_callbacks', array( Chat::class, 'preview' ), 10, 3 );
		add_filter( 'rest_pre_serve_request', array( Rest::class, 'serve' ), 20, 4 );
		add_action( 'enqueue_block_editor_assets', array( Editor::class, 'enqueue' ) );
		add_filter( 'site_status_tests', array( Site_Health::class, 'tests' ) );
		add_filter( 'wp_privacy_personal_data_exporters', array( Privacy::class, 'exporters' ) );
		add_filter( 'wp_privacy_personal_data_erasers', array( Privacy::class, 'erasers' ) );
		add_action( 'login_footer', array( Privacy::class, 'forget_tab' ) );
		add_action( 'deleted_user', array( Privacy::class, 'forget_user' ) );
		add_action( 'stagedoor_daily', array( Install::class, 'daily' ) );
		add_action( 'wp_initialize_site', array( Install::class, 'new_site' ), 20 );
		add_filter( 'wpmu_drop_tables', array( Install::class, 'dropped_tables' ) );
		add_filter( 'http_request_host_is_external', array( Client::class, 'host_is_external' ), 10, 3 );
		add_filter( 'http_allowed_safe_ports', array( Client::class, 'safe_ports' ), 10, 3 );
		add_filter( 'http_request_args', array( Provider::class, 'tag_request' ), 10, 2 );
		add_filter( 'http_response', array( Provider::class, 'watch' ), 10, 3 );
		add_action( 'wp_ajax_health-check-stagedoor-gateway', array( Site_Health::class, 'ajax_gateway' ) );
		add_action( 'wp_ajax_health-check-stagedoor-stream', array( Site_Health::class, 'ajax_streaming' ) );
		if ( is_admin() ) {
			add_action( 'admin_menu', array( Settings_Page::class, 'menu' ) );
			add_action( 'admin_enqueue_scripts', array( Settings_Page::class, 'enqueue' ) );
			add_action( 'admin_init', array( Privacy::class, 'policy' ) );
			add_action( 'admin_notices', array( Usage::class, 'notice' ) );
			add_action( 'wp_dashboard_setup', array( Dashboard::class, 'setup' ) );
			add_filter( 'plugin_action_links_' . plugin_basename( MAIN_FILE ), array( Settings_Page::class, 'links' ) );
		}
		if ( defined( 'WP_CLI' ) && WP_CLI ) {
			\WP_CLI::add_command( 'stagedoor', Cli::class );
		}
	}

	/**
	 * The address of one of the plugin's own files.
	 *
	 * @param string $path Below the plugin's folder.
	 * @return string
	 */
	public static function url( $path ) {
		return plugins_url( $path, MAIN_FILE );
	}

	/**
	 * Make the scripts and styles known; nothing is loaded by that.
	 *
	 * @return void
	 */
	public static function register_assets() {
		$scripts = array(
			'stagedoor-sse'        => array( 'assets/sse.js', array() ),
			'stagedoor-session'    => array( 'assets/session.js', array( 'stagedoor-sse', 'wp-i18n' ) ),
			'stagedoor-transports' => array( 'assets/transports.js', array( 'stagedoor-session' ) ),
			'stagedoor-stream'     => array( 'assets/stream.js', array( 'stagedoor-transports' ) ),
			'stagedoor-markdown'   => array( 'assets/markdown.js', array() ),
			'stagedoor-rendering'  => array( 'assets/rendering.js', array( 'stagedoor-markdown', 'wp-hooks' ) ),
			'stagedoor-view'       => array( 'assets/view.js', array( 'stagedoor-stream', 'stagedoor-rendering', 'wp-i18n' ) ),
			'stagedoor-editor'     => array(
				'assets/editor.js',
				array( 'stagedoor-stream', 'wp-blocks', 'wp-block-editor', 'wp-components', 'wp-compose', 'wp-data', 'wp-element', 'wp-hooks', 'wp-i18n', 'wp-rich-text' ),
			),
			'stagedoor-admin'      => array( 'assets/admin.js', array( 'stagedoor-stream', 'wp-i18n' ) ),
		);
		foreach ( $scripts as $handle => $script ) {
			wp_register_script( $handle, self::url( $script[0] ), $script[1], VERSION, array( 'in_footer' => true, 'strategy' => 'defer' ) );
			if ( in_array( 'wp-i18n', $script[1], true ) ) {
				wp_set_script_translations( $handle, 'stagedoor', plugin_dir_path( MAIN_FILE ) . 'languages' );
			}
		}
		foreach ( array( 'view', 'editor', 'admin' ) as $name ) {
			wp_register_style( 'stagedoor-' . $name, self::url( "assets/{$name}.css" ), array(), VERSION );
			wp_style_add_data( 'stagedoor-' . $name, 'path', plugin_dir_path( MAIN_FILE ) . "assets/{$name}.css" );
		}
	}
}
