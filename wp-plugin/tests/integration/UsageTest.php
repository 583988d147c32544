<?php

namespace Stagedoor\Tests\Integration;

use Stagedoor\Usage;
use Stagedoor\Tests\TestCase;

final class UsageTest extends TestCase {

	private function usage( $spent, $resets_at = 2000000000 ) {
		return array(
			200,
			array(
				'cap'      => array( 'max_nanousd' => 5000000000, 'spent_nanousd' => $spent, 'left_nanousd' => max( 0, 5000000000 - $spent ), 'resets_at' => $resets_at ),
				'total'    => array( 'requests' => 3, 'cost_nanousd' => $spent ),
				'features' => array(
					array( 'feature' => 'chat', 'requests' => 2, 'cost_nanousd' => 1500000000 ),
					array( 'feature' => 'ai-client:no-such-plugin', 'requests' => 1, 'cost_nanousd' => 1 ),
					'nonsense',
				),
			),
		);
	}

	private function notice() {
		set_current_screen( 'dashboard' );
		ob_start();
		Usage::notice();
		return ob_get_clean();
	}

	public function test_spend_against_the_cap_by_feature_and_plugin() {
		$this->gateway['/v1/usage'] = $this->usage( 1500000001 );
		$view                       = Usage::view();
		$this->assertSame( array( true, 1.500000001, 5.0, 2000000000, false ), array( $view['ok'], $view['spent'], $view['cap'], $view['resets_at'], $view['reached'] ) );
		$this->assertSame( array( 'Chat', 'Plugin: no-such-plugin' ), wp_list_pluck( $view['features'], 'label' ) );
		Usage::view();
		$this->assertCount( 1, $this->sent, 'asked for once in a while only' );
	}

	public function test_a_site_without_a_cap() {
		$this->gateway['/v1/usage'] = array( 200, array( 'cap' => null, 'total' => array( 'requests' => 1, 'cost_nanousd' => 2000000 ), 'features' => null ) );
		$view                       = Usage::view();
		$this->assertSame( array( 0.002, null, null, array() ), array( $view['spent'], $view['cap'], $view['resets_at'], $view['features'] ) );
	}

	public function test_an_older_gateway_and_one_that_is_gone() {
		$this->assertTrue( Usage::view()['old'] );
		$this->gateway['/v1/usage'] = new \WP_Error( 'http_request_failed', 'no route' );
		$this->assertFalse( Usage::view()['old'] );
	}

	public function test_the_owner_reads_that_a_cap_is_reached_and_when_it_begins_anew() {
		wp_set_current_user( $this->user( 'administrator' ) );
		$this->gateway['/v1/chat/completions'] = array( 429, array( 'error' => array( 'code' => 'insufficient_quota', 'message' => 'The cap of $5 is <reached>.' ) ) );
		$this->post( 'complete', $this->ask() );
		$this->assertStringContainsString( 'The cap of $5 is &lt;reached&gt;.', $this->notice() );

		$this->gateway['/v1/usage'] = $this->usage( 5000000000 );
		Usage::view();
		$this->assertStringContainsString( wp_date( get_option( 'date_format' ), 2000000000 ), $this->notice() );

		wp_set_current_user( $this->user( 'editor' ) );
		$this->assertSame( '', $this->notice() );
	}

	public function test_the_notice_goes_when_there_is_money_again() {
		wp_set_current_user( $this->user( 'administrator' ) );
		update_option( Usage::CAP, array( 'at' => time() - HOUR_IN_SECONDS, 'reason' => 'x', 'resets_at' => 0 ) );
		$this->assertNotSame( '', $this->notice() );
		$this->gateway['/v1/usage'] = $this->usage( 1 );
		Usage::view();
		$this->assertSame( '', $this->notice() );
	}

	public function test_a_window_that_has_ended_needs_no_notice() {
		wp_set_current_user( $this->user( 'administrator' ) );
		update_option( Usage::CAP, array( 'at' => time() - DAY_IN_SECONDS, 'reason' => 'x', 'resets_at' => time() - 60 ) );
		$this->assertSame( '', $this->notice() );
	}
}
