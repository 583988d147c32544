<?php

namespace Stagedoor\Tests\Integration;

use Stagedoor\Access;
use Stagedoor\Tests\TestCase;

final class AccessTest extends TestCase {

	/**
	 * @dataProvider askers
	 */
	public function test_who_may_ask( $who, $role, $may ) {
		$this->settings( array( 'who' => $who, 'roles' => array( 'editor' ) ) );
		wp_set_current_user( $role ? $this->user( $role ) : 0 );
		$this->assertSame( $may, current_user_can( 'stagedoor_chat' ) );
	}

	public static function askers() {
		return array(
			array( 'everyone', '', true ),
			array( 'everyone', 'subscriber', true ),
			array( 'members', '', false ),
			array( 'members', 'subscriber', true ),
			array( 'roles', '', false ),
			array( 'roles', 'subscriber', false ),
			array( 'roles', 'editor', true ),
			array( 'roles', 'administrator', true ),
		);
	}

	public function test_capabilities_can_be_granted_by_name() {
		$user = get_userdata( $this->user( 'subscriber' ) );
		wp_set_current_user( $user->ID );
		$this->assertFalse( current_user_can( 'stagedoor_manage' ) );
		$user->add_cap( 'stagedoor_manage' );
		wp_set_current_user( 0 );
		wp_set_current_user( $user->ID );
		$this->assertTrue( current_user_can( 'stagedoor_manage' ) );
		$this->assertFalse( current_user_can( 'manage_options' ) );
	}

	public function test_a_forwarded_address_is_believed_only_when_the_owner_says_so() {
		$_SERVER['HTTP_X_FORWARDED_FOR'] = '198.51.100.1, 198.51.100.2';
		$this->assertSame( '203.0.113.7', Access::address() );
		$this->settings( array( 'ip_source' => 'x_forwarded_for' ) );
		$this->assertSame( '198.51.100.2', Access::address() );
	}

	public function test_one_subscribers_ipv6_addresses_are_one_visitor() {
		$_SERVER['REMOTE_ADDR'] = '2001:db8:1:2::1';
		$one                    = Access::visitor();
		$_SERVER['REMOTE_ADDR'] = '2001:db8:1:2:ffff::9';
		$this->assertSame( $one, Access::visitor() );
		$_SERVER['REMOTE_ADDR'] = '2001:db8:1:3::1';
		$this->assertNotSame( $one, Access::visitor() );
		$this->assertStringNotContainsString( '2001', $one );
	}

	public function test_visitors_of_a_server_that_listens_on_both_are_not_one() {
		$_SERVER['REMOTE_ADDR'] = '203.0.113.7';
		$one                    = Access::visitor();
		$_SERVER['REMOTE_ADDR'] = '::ffff:203.0.113.7';
		$this->assertSame( $one, Access::visitor() );
		$_SERVER['REMOTE_ADDR'] = '::ffff:203.0.113.8';
		$this->assertNotSame( $one, Access::visitor() );
	}

	public function test_a_proxy_may_write_the_port_behind_the_address() {
		$this->settings( array( 'ip_source' => 'x_forwarded_for' ) );
		foreach ( array( '198.51.100.2:4711' => '198.51.100.2', '[2001:db8::1]:4711' => '2001:db8::1', '2001:db8::1' => '2001:db8::1', '198.51.100.2:x' => '', 'unknown' => '' ) as $written => $address ) {
			$_SERVER['HTTP_X_FORWARDED_FOR'] = '192.0.2.1, ' . $written;
			$this->assertSame( $address, Access::address() );
		}
	}

	/**
	 * @dataProvider origins
	 */
	public function test_origins_of_addresses( $url, $origin ) {
		$this->assertSame( $origin, Access::origin_of( $url ) );
	}

	public static function origins() {
		return array(
			array( 'https://Example.com/a?b', 'https://example.com' ),
			array( 'https://example.com:443', 'https://example.com' ),
			array( 'http://example.com:8080/x', 'http://example.com:8080' ),
			array( 'nonsense', '' ),
			array( '/path', '' ),
		);
	}
}
