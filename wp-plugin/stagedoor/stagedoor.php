<?php
/**
 * Plugin Name:       Stagedoor
 * Description:       Chat and writing help from any language model, through your own Stagedoor gateway: streamed, with limits and spending caps.
 * Version:           1.7.0
 * Requires at least: 6.5
 * Requires PHP:      7.4
 * Author:            The Stagedoor authors
 * License:           GPL-2.0-or-later
 * License URI:       https://www.gnu.org/licenses/gpl-2.0.html
 * Text Domain:       stagedoor
 * Domain Path:       /languages
 *
 * This file names the plugin's constants and loads its classes; `Plugin::boot()` hangs
 * everything else on WordPress' hooks.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

const VERSION = '1.7.0';

/** The plugin's main file, as WordPress' own functions want it. */
const MAIN_FILE = __FILE__;

spl_autoload_register(
	static function ( $name ) {
		if ( 0 !== strpos( $name, __NAMESPACE__ . '\\' ) ) {
			return;
		}
		$parts = explode( '\\', substr( $name, strlen( __NAMESPACE__ ) + 1 ) );
		$last  = 'class-' . strtolower( str_replace( '_', '-', array_pop( $parts ) ) ) . '.php';
		$path  = __DIR__ . '/includes/' . strtolower( implode( '/', array_merge( $parts, array( $last ) ) ) );
		if ( is_readable( $path ) ) {
			require_once $path;
		}
	}
);

register_activation_hook( __FILE__, array( Install::class, 'activate' ) );
register_deactivation_hook( __FILE__, array( Install::class, 'deactivate' ) );

Plugin::boot();
