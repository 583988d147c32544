<?php
/**
 * What the site's owner has decided: one option, read on the server only.
 *
 * The gateway's key is not in it. On WordPress 7.0 and later it is the connector's
 * option, which core's own Connectors screen edits too; the same option is used before
 * that, so an upgrade finds it. A constant or an environment variable wins over it.
 *
 * A key goes to the address that it was given for and to no other: who may change the
 * address must not be sent a key that they were never shown.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Settings, with their defaults and their bounds.
 */
final class Settings {

	const OPTION     = 'stagedoor_settings';
	const KEY_OPTION = 'connectors_ai_stagedoor_api_key';
	const GROUP      = 'stagedoor';

	const TRANSPORTS = array( 'auto', 'direct', 'relay', 'buffered' );
	const WINDOWS    = array(
		'hour'  => HOUR_IN_SECONDS,
		'day'   => DAY_IN_SECONDS,
		'month' => 30 * DAY_IN_SECONDS,
	);

	/**
	 * Whole numbers: default, least, most.
	 *
	 * Zero means "no limit" for limits, "keep nothing" for the retention.
	 */
	const NUMBERS = array(
		'limit_guest'    => array( 20, 0, 100000 ),
		'limit_user'     => array( 100, 0, 100000 ),
		'limit_site'     => array( 2000, 0, 10000000 ),
		'max_tokens'     => array( 1000, 1, 100000 ),
		'history_max'    => array( 20, 1, 100 ),
		'question_chars' => array( 4000, 100, 50000 ),
		'relay_max'      => array( 2, 1, 100 ),
		'timeout_s'      => array( 120, 10, 600 ),
		'retention_days' => array( 0, 0, 3650 ),
	);

	/**
	 * One of a few words: default first.
	 */
	const CHOICES = array(
		'who'                => array( 'everyone', 'members', 'roles' ),
		'limit_guest_window' => array( 'hour', 'day', 'month' ),
		'limit_user_window'  => array( 'hour', 'day', 'month' ),
		'limit_site_window'  => array( 'day', 'hour', 'month' ),
		'transport'          => self::TRANSPORTS,
		'padding'            => array( 'auto', 'on', 'off' ),
		'ip_source'          => array( 'remote_addr', 'x_forwarded_for', 'cf_connecting_ip' ),
	);

	const SWITCHES = array(
		'editor'              => true,
		'delete_on_uninstall' => true,
	);

	/**
	 * All settings; what was never saved has its default.
	 *
	 * @return array<string, mixed>
	 */
	public static function all() {
		$saved = get_option( self::OPTION, array() );
		return array_merge( self::defaults(), is_array( $saved ) ? $saved : array() );
	}

	/**
	 * One setting.
	 *
	 * @param string $name Its name.
	 * @return mixed
	 */
	public static function get( $name ) {
		$all = self::all();
		return isset( $all[ $name ] ) ? $all[ $name ] : null;
	}

	/**
	 * The defaults.
	 *
	 * @return array<string, mixed>
	 */
	public static function defaults() {
		$defaults = array(
			'base_url'      => '',
			'public_url'    => '',
			'model'         => '',
			'system_prompt' => '',
			'roles'         => array(),
		);
		foreach ( self::NUMBERS as $name => $bounds ) {
			$defaults[ $name ] = $bounds[0];
		}
		foreach ( self::CHOICES as $name => $words ) {
			$defaults[ $name ] = $words[0];
		}
		return array_merge( $defaults, self::SWITCHES );
	}

	/**
	 * Where the gateway is, without a trailing slash and without /v1; '' when unknown.
	 *
	 * @return string
	 */
	public static function base_url() {
		if ( self::is_astray() ) {
			return '';
		}
		$url = self::from_code( 'STAGEDOOR_BASE_URL' );
		return Address::trim( '' !== $url ? $url : (string) self::get( 'base_url' ) );
	}

	/**
	 * Whether a network's key has no address of the network's: the owner of one site could
	 * name a server of their own, and would be sent the key of all. Then there is no gateway.
	 *
	 * @return bool
	 */
	public static function is_astray() {
		return is_multisite() && '' !== self::from_code( 'STAGEDOOR_API_KEY' ) && ! self::base_url_is_fixed();
	}

	/**
	 * What a constant or the environment says. Secrets that are mounted as files often end
	 * with a line's end.
	 *
	 * @param string $name Its name.
	 * @return string
	 */
	private static function from_code( $name ) {
		$constant = defined( $name ) && is_string( constant( $name ) ) ? trim( constant( $name ) ) : '';
		return '' !== $constant ? $constant : trim( (string) getenv( $name ) );
	}

	/**
	 * Where browsers find the gateway: usually where PHP does.
	 *
	 * @return string
	 */
	public static function public_url() {
		$url = self::from_code( 'STAGEDOOR_PUBLIC_URL' );
		$url = Address::trim( '' !== $url ? $url : (string) self::get( 'public_url' ) );
		return '' !== $url ? $url : self::base_url();
	}

	/**
	 * Whether code, not the settings screen, says where the gateway is.
	 *
	 * @return bool
	 */
	public static function base_url_is_fixed() {
		return '' !== self::from_code( 'STAGEDOOR_BASE_URL' );
	}

	/**
	 * The gateway's key; '' when there is none.
	 *
	 * @return string
	 */
	public static function api_key() {
		$found = self::key_from_code();
		return '' !== $found ? $found : (string) get_option( self::KEY_OPTION, '' );
	}

	/**
	 * Where the key comes from: env, constant, database or none.
	 *
	 * @return string
	 */
	public static function key_source() {
		if ( '' !== trim( (string) getenv( 'STAGEDOOR_API_KEY' ) ) ) {
			return 'env';
		}
		if ( '' !== self::key_from_code() ) {
			return 'constant';
		}
		return '' !== (string) get_option( self::KEY_OPTION, '' ) ? 'database' : 'none';
	}

	/**
	 * The key of the environment or of a constant, in the order that core reads them.
	 *
	 * @return string
	 */
	private static function key_from_code() {
		$env = trim( (string) getenv( 'STAGEDOOR_API_KEY' ) );
		return '' !== $env ? $env : self::from_code( 'STAGEDOOR_API_KEY' );
	}

	/**
	 * The key as it may be shown: its last four characters, and none of a network's.
	 *
	 * @return string
	 */
	public static function masked_key() {
		$key = self::api_key();
		if ( '' === $key ) {
			return '';
		}
		if ( is_multisite() && '' !== self::key_from_code() ) {
			return str_repeat( "\u{2022}", 12 );
		}
		return str_repeat( "\u{2022}", 12 ) . ( strlen( $key ) > 12 ? substr( $key, -4 ) : '' );
	}

	/**
	 * Whether the plugin can ask anything at all.
	 *
	 * @return bool
	 */
	public static function is_ready() {
		return '' !== self::base_url() && '' !== self::api_key();
	}

	/**
	 * Tell the Settings API about the option.
	 *
	 * @return void
	 */
	public static function register() {
		register_setting(
			self::GROUP,
			self::OPTION,
			array(
				'type'              => 'object',
				'sanitize_callback' => array( __CLASS__, 'sanitize' ),
				'show_in_rest'      => false,
				'default'           => array(),
			)
		);
	}

	/**
	 * What a form, a command or another plugin saves, made safe.
	 *
	 * @param mixed $given As sent.
	 * @return array<string, mixed>
	 */
	public static function sanitize( $given ) {
		$given = is_array( $given ) ? $given : array();
		$old   = self::all();
		if ( isset( $given['base_url'] ) && '' !== self::key_from_code() && ! self::is_shell() && ! current_user_can( 'manage_options' ) ) {
			unset( $given['base_url'] ); // The key of wp-config.php is not theirs to send elsewhere.
		}
		$kept = array();
		foreach ( array( 'base_url', 'public_url' ) as $name ) {
			$kept[ $name ] = self::sanitize_url( $name, isset( $given[ $name ] ) ? (string) $given[ $name ] : $old[ $name ], $old[ $name ] );
		}
		$kept['model']         = self::text( isset( $given['model'] ) ? $given['model'] : $old['model'], 200 );
		$kept['system_prompt'] = self::paragraphs( isset( $given['system_prompt'] ) ? $given['system_prompt'] : $old['system_prompt'], 20000 );
		$form                  = ! empty( $given['form'] );
		// A form leaves out the boxes that are not ticked; code leaves out what it does not change.
		$kept['roles'] = self::roles( isset( $given['roles'] ) ? $given['roles'] : ( $form ? array() : $old['roles'] ) );
		foreach ( self::NUMBERS as $name => $bounds ) {
			$number        = isset( $given[ $name ] ) && is_numeric( $given[ $name ] ) ? (int) $given[ $name ] : (int) $old[ $name ];
			$kept[ $name ] = max( $bounds[1], min( $bounds[2], $number ) );
		}
		foreach ( self::CHOICES as $name => $words ) {
			$word          = isset( $given[ $name ] ) ? $given[ $name ] : $old[ $name ];
			$kept[ $name ] = in_array( $word, $words, true ) ? $word : $words[0];
		}
		foreach ( self::SWITCHES as $name => $default ) {
			$kept[ $name ] = isset( $given[ $name ] ) ? (bool) $given[ $name ] : ( $form ? false : (bool) $old[ $name ] );
		}
		self::take_key( $given, $kept['base_url'], $old['base_url'] );
		self::warn( $kept );
		if ( $kept['base_url'] !== $old['base_url'] || $kept['public_url'] !== $old['public_url'] ) {
			Verdict::forget();
			Client::forget();
		}
		return $kept;
	}

	/**
	 * The key travels with the form but lives in an option of its own.
	 *
	 * @param array<string, mixed> $given As sent.
	 * @param string               $url   The gateway's address from now on.
	 * @param string               $old   What it was.
	 * @return void
	 */
	private static function take_key( array $given, $url, $old ) {
		if ( ! empty( $given['forget_key'] ) ) {
			delete_option( self::KEY_OPTION );
			Client::forget();
			return;
		}
		$key = isset( $given['api_key'] ) && is_string( $given['api_key'] ) ? trim( $given['api_key'] ) : '';
		if ( '' === $key || false !== strpos( $key, "\u{2022}" ) ) {
			// An empty or masked field means: as it was. But a key is not sent to another address than its own.
			if ( '' !== $old && Access::origin_of( $url ) !== Access::origin_of( $old ) && ! self::is_shell() && '' !== (string) get_option( self::KEY_OPTION, '' ) ) {
				delete_option( self::KEY_OPTION );
				self::complain( 'stagedoor_key', __( 'The saved key was for the old address, and is forgotten. Enter the key that the new gateway gave for this site.', 'stagedoor' ), 'warning' );
			}
			return;
		}
		if ( ! preg_match( '/^[\x21-\x7e]{8,512}$/', $key ) ) {
			self::complain( 'stagedoor_key', __( 'The key was not saved: it holds spaces or characters that no key has. Copy it again from the gateway.', 'stagedoor' ) );
			return;
		}
		update_option( self::KEY_OPTION, $key, false );
		Client::forget();
	}

	/**
	 * Roles that there are.
	 *
	 * @param mixed $given As sent.
	 * @return string[]
	 */
	private static function roles( $given ) {
		$given = is_array( $given ) ? array_filter( $given, 'is_string' ) : array();
		return array_values( array_intersect( array_map( 'sanitize_key', $given ), array_keys( wp_roles()->roles ) ) );
	}

	/**
	 * Whether somebody types commands on the server, who could read the key anyway.
	 *
	 * @return bool
	 */
	private static function is_shell() {
		return defined( 'WP_CLI' ) && WP_CLI;
	}

	/**
	 * Say what will not work well, or not safely, though it was saved.
	 *
	 * @param array<string, mixed> $kept What was saved.
	 * @return void
	 */
	private static function warn( array $kept ) {
		foreach ( Address::worries( $kept['base_url'], '' !== $kept['public_url'] ? $kept['public_url'] : $kept['base_url'] ) as $code => $message ) {
			self::complain( $code, $message, 'warning' );
		}
		if ( function_exists( 'get_settings_errors' ) ) {
			$types = wp_list_pluck( get_settings_errors( self::OPTION ), 'type' );
			if ( $types && array( 'warning' ) === array_unique( $types ) ) {
				self::complain( 'stagedoor_saved', __( 'Settings saved.', 'stagedoor' ), 'success' ); // Core says so only where it heard of nothing else.
			}
		}
	}

	/**
	 * Say on the screen what was not saved; a command or a hook has no screen.
	 *
	 * @param string $code    Which.
	 * @param string $message Why.
	 * @param string $type    error or warning.
	 * @return void
	 */
	private static function complain( $code, $message, $type = 'error' ) {
		if ( function_exists( 'add_settings_error' ) ) {
			add_settings_error( self::OPTION, $code, $message, $type );
		}
	}

	/**
	 * An address of the gateway; else what it was, and an error.
	 *
	 * @param string $name Which one.
	 * @param string $url  As typed.
	 * @param string $old  As it was.
	 * @return string
	 */
	private static function sanitize_url( $name, $url, $old ) {
		$url = Address::trim( $url );
		if ( '' === $url ) {
			return '';
		}
		if ( ! Address::is_clean( $url ) ) {
			self::complain( 'stagedoor_' . $name, __( 'The gateway’s address was not saved: it must look like https://gateway.example.com, without a user, a query or a fragment.', 'stagedoor' ) );
			return $old;
		}
		return esc_url_raw( $url, array( 'http', 'https' ) );
	}

	/**
	 * One line of text.
	 *
	 * @param mixed $text      As typed.
	 * @param int   $chars_max Its bound.
	 * @return string
	 */
	public static function text( $text, $chars_max ) {
		return mb_substr( sanitize_text_field( is_scalar( $text ) ? (string) $text : '' ), 0, $chars_max );
	}

	/**
	 * Several lines of text. Prompts may speak of tags, so nothing is stripped: they are
	 * sent as JSON and shown escaped.
	 *
	 * @param mixed $text      As typed.
	 * @param int   $chars_max Its bound.
	 * @return string
	 */
	public static function paragraphs( $text, $chars_max ) {
		$text = wp_check_invalid_utf8( is_scalar( $text ) ? (string) $text : '' );
		$text = preg_replace( '/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/', '', str_replace( array( "\r\n", "\r" ), "\n", $text ) );
		return mb_substr( trim( $text ), 0, $chars_max );
	}
}
