<?php
/**
 * What a page carries for us and must neither read nor change: encrypted and
 * authenticated with a key of this site's salts. Nothing is stored for it, so it works
 * in cached pages, templates, widgets and feeds alike.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Sealed values.
 */
final class Sealed {

	const CHARS_MAX = 65536; // A system prompt of 20,000 characters, four bytes each, and room.

	/**
	 * Seal a value. The nonce is made of the value, so that a page that has not changed
	 * is the same byte for byte, and caches keep it.
	 *
	 * @param string $purpose What it is for; it opens for nothing else.
	 * @param mixed  $value   Anything that JSON can say.
	 * @return string Letters, digits, - and _.
	 */
	public static function seal( $purpose, $value ) {
		$plain = (string) wp_json_encode( $value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES );
		$key   = self::key( $purpose );
		$nonce = substr( hash_hmac( 'sha256', $plain, $key, true ), 0, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES );
		return rtrim( strtr( base64_encode( $nonce . sodium_crypto_secretbox( $plain, $nonce, $key ) ), '+/', '-_' ), '=' );
	}

	/**
	 * Open it again.
	 *
	 * @param string $purpose What it is for.
	 * @param mixed  $sealed  As a browser sent it.
	 * @return mixed Null when it is not ours, was changed, or the site's salts were.
	 */
	public static function open( $purpose, $sealed ) {
		if ( ! is_string( $sealed ) || strlen( $sealed ) > 2 * self::CHARS_MAX || ! preg_match( '/^[A-Za-z0-9_-]+$/', $sealed ) ) {
			return null;
		}
		$raw = base64_decode( strtr( $sealed, '-_', '+/' ), true );
		if ( false === $raw || strlen( $raw ) < SODIUM_CRYPTO_SECRETBOX_NONCEBYTES + SODIUM_CRYPTO_SECRETBOX_MACBYTES ) {
			return null;
		}
		$nonce = substr( $raw, 0, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES );
		$plain = sodium_crypto_secretbox_open( substr( $raw, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES ), $nonce, self::key( $purpose ) );
		return false === $plain ? null : json_decode( $plain, true );
	}

	/**
	 * A key for one purpose, of this site alone.
	 *
	 * @param string $purpose What it is for.
	 * @return string
	 */
	private static function key( $purpose ) {
		return hash_hmac( 'sha256', 'stagedoor|' . $purpose . '|' . get_current_blog_id(), wp_salt( 'auth' ), true );
	}
}
