<?php
/**
 * Addresses of a gateway: what is one, and what is not well about one that is.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Addresses, by themselves.
 */
final class Address {

	/**
	 * Without a trailing slash and without the version that clients append.
	 *
	 * @param string $url As typed.
	 * @return string
	 */
	public static function trim( $url ) {
		return preg_replace( '#/v1$#', '', rtrim( trim( $url ), '/' ) );
	}

	/**
	 * Whether it is an http(s) address without user, query or fragment.
	 *
	 * @param string $url Trimmed.
	 * @return bool
	 */
	public static function is_clean( $url ) {
		$parts = wp_parse_url( $url );
		return is_array( $parts ) && ! empty( $parts['host'] ) && isset( $parts['scheme'] ) && in_array( strtolower( $parts['scheme'] ), array( 'http', 'https' ), true )
			&& ! isset( $parts['user'] ) && ! isset( $parts['query'] ) && ! isset( $parts['fragment'] );
	}

	/**
	 * What is wrong with two addresses that may be right.
	 *
	 * @param string $base          Where PHP reaches the gateway.
	 * @param string $from_browsers Where browsers do.
	 * @return array<string, string>
	 */
	public static function worries( $base, $from_browsers ) {
		$worries = array();
		if ( 'http' === strtolower( (string) wp_parse_url( $base, PHP_URL_SCHEME ) ) && ! self::is_near( $base ) ) {
			$worries['stagedoor_plain'] = __( 'The gateway’s address begins with http://: the key and every question travel unencrypted. Use https:// for a gateway that is not on this machine or network.', 'stagedoor' );
		}
		if ( 'https' === wp_parse_url( home_url(), PHP_URL_SCHEME ) && 'http' === strtolower( (string) wp_parse_url( $from_browsers, PHP_URL_SCHEME ) ) && ! self::is_near( $from_browsers, true ) ) {
			$worries['stagedoor_mixed'] = __( 'This site is served by https:// and the gateway by http://: browsers do not fetch answers from there, so all of them go through this server and hold its PHP workers. Give the gateway an https:// address for browsers.', 'stagedoor' );
		}
		return $worries;
	}

	/**
	 * Whether an address is on this machine, or on a network that nobody else is on.
	 *
	 * @param string $url     The address.
	 * @param bool   $machine Whether only this machine counts.
	 * @return bool
	 */
	private static function is_near( $url, $machine = false ) {
		$host = strtolower( trim( (string) wp_parse_url( $url, PHP_URL_HOST ), '[]' ) );
		if ( 'localhost' === $host || '::1' === $host || 0 === strpos( $host, '127.' ) || preg_match( '/\.localhost$/', $host ) ) {
			return true;
		}
		if ( $machine ) {
			return false;
		}
		if ( false !== filter_var( $host, FILTER_VALIDATE_IP ) ) {
			return false === filter_var( $host, FILTER_VALIDATE_IP, FILTER_FLAG_NO_PRIV_RANGE | FILTER_FLAG_NO_RES_RANGE );
		}
		return false === strpos( $host, '.' ) || (bool) preg_match( '/\.(local|internal|lan|home|intranet|test)$/', $host );
	}
}
