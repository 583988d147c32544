<?php
/**
 * Who is asking, and whether they may: capabilities, origins, addresses.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Capabilities and identities.
 */
final class Access {

	/**
	 * Map our three capabilities to what roles have.
	 *
	 * `stagedoor_manage` sees settings, usage and reasons; `stagedoor_generate` uses the
	 * editor's actions; `stagedoor_chat` asks in a chat. Grant them to a role by name to
	 * override the mapping, or filter `map_meta_cap`.
	 *
	 * @param string[] $caps    What is needed so far.
	 * @param string   $cap     What was asked for.
	 * @param int      $user_id Whom it is about; 0 for a guest.
	 * @return string[]
	 */
	public static function map_meta_cap( $caps, $cap, $user_id ) {
		switch ( $cap ) {
			case 'stagedoor_manage':
				return self::is_granted( $user_id, $cap ) ? array( 'exist' ) : array( 'manage_options' );
			case 'stagedoor_generate':
				return self::is_granted( $user_id, $cap ) ? array( 'exist' ) : array( 'edit_posts' );
			case 'stagedoor_chat':
				return self::is_granted( $user_id, $cap ) ? array( 'exist' ) : self::chat_caps( $user_id );
		}
		return $caps;
	}

	/**
	 * Whether a role or the user was given the capability by name.
	 *
	 * @param int    $user_id The user.
	 * @param string $cap     The capability.
	 * @return bool
	 */
	private static function is_granted( $user_id, $cap ) {
		$user = $user_id ? get_userdata( $user_id ) : false;
		return $user && ! empty( $user->allcaps[ $cap ] );
	}

	/**
	 * What `who` asks of somebody who wants to chat.
	 *
	 * @param int $user_id The user; 0 for a guest.
	 * @return string[]
	 */
	private static function chat_caps( $user_id ) {
		$who = Settings::get( 'who' );
		if ( 'everyone' === $who ) {
			return array( 'exist' );
		}
		$user = $user_id ? get_userdata( $user_id ) : false;
		if ( ! $user ) {
			return array( 'do_not_allow' );
		}
		if ( 'members' === $who ) {
			return array( 'exist' );
		}
		$allowed = array_intersect( (array) Settings::get( 'roles' ), $user->roles );
		return $allowed || user_can( $user, 'manage_options' ) ? array( 'exist' ) : array( 'do_not_allow' );
	}

	/**
	 * Whether a page of this site sent the request. Browsers name the page's origin on
	 * every POST; other sites' pages cannot take it away.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return bool
	 */
	public static function is_same_origin( \WP_REST_Request $request ) {
		$origin = (string) $request->get_header( 'origin' );
		if ( '' === $origin || 'null' === $origin ) {
			$origin = self::origin_of( (string) $request->get_header( 'referer' ) );
		}
		return '' !== $origin && in_array( strtolower( $origin ), self::origins(), true );
	}

	/**
	 * The origins of this site.
	 *
	 * @return string[]
	 */
	public static function origins() {
		$origins = array_map( array( __CLASS__, 'origin_of' ), array( home_url(), site_url(), admin_url() ) );
		/**
		 * Filters the origins whose pages may ask: a second domain of the same site.
		 *
		 * @param string[] $origins Like https://example.com, without a path.
		 */
		return array_values( array_unique( array_map( 'strtolower', (array) apply_filters( 'stagedoor_allowed_origins', $origins ) ) ) );
	}

	/**
	 * Scheme, host and a port that is not the scheme's own.
	 *
	 * @param string $url An address.
	 * @return string
	 */
	public static function origin_of( $url ) {
		$parts = wp_parse_url( $url );
		if ( ! is_array( $parts ) || empty( $parts['scheme'] ) || empty( $parts['host'] ) ) {
			return '';
		}
		$scheme = strtolower( $parts['scheme'] );
		$port   = isset( $parts['port'] ) ? (int) $parts['port'] : 0;
		$plain  = array( 'http' => 80, 'https' => 443 );
		$suffix = $port && ( ! isset( $plain[ $scheme ] ) || $plain[ $scheme ] !== $port ) ? ':' . $port : '';
		return $scheme . '://' . strtolower( $parts['host'] ) . $suffix;
	}

	/**
	 * Who asks, as limits and the gateway know them: never the id or the address itself.
	 *
	 * @return string
	 */
	public static function visitor() {
		$user_id = get_current_user_id();
		return $user_id ? self::user_hash( $user_id ) : 'g' . self::hash( 'guest', self::network( self::address() ) );
	}

	/**
	 * A user's name towards the gateway: the same for every request, and of no use
	 * elsewhere.
	 *
	 * @param int $user_id The user.
	 * @return string
	 */
	public static function user_hash( $user_id ) {
		return 'u' . self::hash( 'user', (string) $user_id );
	}

	/**
	 * A keyed hash, so that nobody can go back from it without this site's salts.
	 *
	 * @param string $what  What it is a hash of.
	 * @param string $value The value.
	 * @return string
	 */
	public static function hash( $what, $value ) {
		return substr( hash_hmac( 'sha256', $what . '|' . get_current_blog_id() . '|' . $value, wp_salt( 'nonce' ) ), 0, 32 );
	}

	/**
	 * The visitor's address, from where the settings say it is believed.
	 *
	 * @return string
	 */
	public static function address() {
		$found  = isset( $_SERVER['REMOTE_ADDR'] ) ? sanitize_text_field( wp_unslash( $_SERVER['REMOTE_ADDR'] ) ) : '';
		$source = Settings::get( 'ip_source' );
		if ( 'cf_connecting_ip' === $source && isset( $_SERVER['HTTP_CF_CONNECTING_IP'] ) ) {
			$found = sanitize_text_field( wp_unslash( $_SERVER['HTTP_CF_CONNECTING_IP'] ) );
		} elseif ( 'x_forwarded_for' === $source && isset( $_SERVER['HTTP_X_FORWARDED_FOR'] ) ) {
			// The last one is what our own proxy saw; those before it are what somebody says.
			$hops  = explode( ',', sanitize_text_field( wp_unslash( $_SERVER['HTTP_X_FORWARDED_FOR'] ) ) );
			$found = trim( end( $hops ) );
		}
		/**
		 * Filters the visitor's address, for limits of guests.
		 *
		 * @param string $address IPv4 or IPv6.
		 */
		$found = self::without_port( (string) apply_filters( 'stagedoor_client_address', $found ) );
		return false !== filter_var( $found, FILTER_VALIDATE_IP ) ? $found : '';
	}

	/**
	 * Some proxies write the visitor's port behind the address.
	 *
	 * @param string $address 203.0.113.7:4711, [2001:db8::1]:4711, or without.
	 * @return string
	 */
	private static function without_port( $address ) {
		return preg_match( '/^(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::\d+)?$/i', $address, $match ) ? ( isset( $match[2] ) ? $match[2] : $match[1] ) : $address;
	}

	/**
	 * What one subscriber has: an IPv4 address, or an IPv6 /64. A server that listens on
	 * both writes IPv4 addresses as ::ffff:203.0.113.7, which are all in one /64.
	 *
	 * @param string $address The address.
	 * @return string
	 */
	private static function network( $address ) {
		if ( false === strpos( $address, ':' ) ) {
			return $address;
		}
		$packed = inet_pton( $address );
		if ( false === $packed ) {
			return $address;
		}
		if ( 0 === strpos( $packed, str_repeat( "\0", 10 ) . "\xff\xff" ) ) {
			return (string) inet_ntop( substr( $packed, 12 ) );
		}
		return bin2hex( substr( $packed, 0, 8 ) );
	}
}
