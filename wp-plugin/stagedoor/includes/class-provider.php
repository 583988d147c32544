<?php
/**
 * WordPress 7.0's own AI client: other plugins that use it go through Stagedoor, its
 * routes and its caps, unchanged.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

use WordPress\AiClient\AiClient;

/**
 * Registers the provider, where core has a registry; and names the plugin that asks.
 */
final class Provider {

	const FEATURE    = 'ai-client:'; // And which plugin asks.
	const FRAMES_MAX = 40; // Of the call stack; a plugin is nearer than that to core's client.

	/**
	 * Register.
	 *
	 * @return void
	 */
	public static function register() {
		if ( ! class_exists( AiClient::class ) || ! function_exists( 'wp_supports_ai' ) || ! wp_supports_ai() || '' === Settings::base_url() ) {
			return;
		}
		$registry = AiClient::defaultRegistry();
		if ( ! $registry->hasProvider( 'stagedoor' ) ) {
			$registry->registerProvider( Ai\Gateway_Provider::class );
		}
	}

	/**
	 * Forget the models that core has listed: another key or gateway may have others.
	 *
	 * @return void
	 */
	public static function forget() {
		if ( class_exists( AiClient::class ) && AiClient::defaultRegistry()->hasProvider( 'stagedoor' ) ) {
			$models = Ai\Gateway_Provider::modelMetadataDirectory();
			if ( $models instanceof Ai\Gateway_Models ) {
				$models->invalidateCaches();
			}
		}
	}

	/**
	 * Say on core's requests to the gateway which client this is, and which plugin asks:
	 * the gateway's usage is told apart by that.
	 *
	 * @param array<string, mixed> $arguments Of the HTTP API.
	 * @param string               $url       Where to.
	 * @return array<string, mixed>
	 */
	public static function tag_request( $arguments, $url ) {
		if ( ! Client::is_ours( $url ) || ! isset( $arguments['headers'] ) || ! is_array( $arguments['headers'] ) ) {
			return $arguments;
		}
		foreach ( array_keys( $arguments['headers'] ) as $name ) {
			if ( 0 === strcasecmp( $name, 'X-Stagedoor-Client' ) ) {
				return $arguments; // Our own client has said it all.
			}
		}
		$arguments['headers'] = array_merge( $arguments['headers'], Client::identity(), array( 'X-Stagedoor-Feature' => self::FEATURE . self::caller() ) );
		return $arguments;
	}

	/**
	 * Learn from core's requests, too, that a cap is reached: the owner shall read it
	 * whichever plugin found out.
	 *
	 * @param array<string, mixed> $response  The answer.
	 * @param array<string, mixed> $arguments Of the HTTP API.
	 * @param string               $url       Where to.
	 * @return array<string, mixed>
	 */
	public static function watch( $response, $arguments, $url ) {
		if ( 429 === wp_remote_retrieve_response_code( $response ) && Client::is_ours( $url ) ) {
			Failure::notice_cap( (string) wp_remote_retrieve_body( $response ) );
		}
		return $response;
	}

	/**
	 * The plugin or theme that asks, by the files on the call stack: the outermost one
	 * that is not ours.
	 *
	 * @return string
	 */
	private static function caller() {
		$found = 'core';
		$roots = array( 'plugin' => wp_normalize_path( WP_PLUGIN_DIR ) . '/', 'mu-plugin' => wp_normalize_path( WPMU_PLUGIN_DIR ) . '/', 'theme' => wp_normalize_path( get_theme_root() ) . '/' );
		// phpcs:ignore WordPress.PHP.DevelopmentFunctions -- It is asked for who calls, not printed.
		foreach ( debug_backtrace( DEBUG_BACKTRACE_IGNORE_ARGS, self::FRAMES_MAX ) as $frame ) {
			$file = isset( $frame['file'] ) ? wp_normalize_path( $frame['file'] ) : '';
			foreach ( $roots as $root ) {
				if ( 0 === strpos( $file, $root ) ) {
					$slug = preg_replace( '/[^a-z0-9_-]/', '', strtolower( preg_replace( '/\.php$/', '', strtok( substr( $file, strlen( $root ) ), '/' ) ) ) );
					if ( '' !== $slug && dirname( plugin_basename( MAIN_FILE ) ) !== $slug ) {
						$found = $slug;
					}
				}
			}
		}
		return substr( $found, 0, 48 );
	}
}
