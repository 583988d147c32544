<?php
/**
 * Loads WordPress before PHPUnit, at the top level: some of its globals would otherwise
 * be locals of PHPUnit's bootstrap. `auto_prepend_file` of the test's own PHP.
 *
 * STAGEDOOR_WORDPRESS is the folder of an installed site whose database may be written to;
 * every test's writes are rolled back.
 */

$stagedoor_site = getenv( 'STAGEDOOR_WORDPRESS' );
if ( ! $stagedoor_site || ! is_readable( $stagedoor_site . '/wp-load.php' ) ) {
	fwrite( STDERR, "STAGEDOOR_WORDPRESS must name an installed site\n" );
	exit( 2 );
}
$_SERVER['HTTP_HOST']   = 'wordpress.test';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['REMOTE_ADDR'] = '203.0.113.7';
error_reporting( E_ALL );
require $stagedoor_site . '/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/admin.php';
