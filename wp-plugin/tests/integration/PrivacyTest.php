<?php

namespace Stagedoor\Tests\Integration;

use Stagedoor\Privacy;
use Stagedoor\Transcripts;
use Stagedoor\Tests\TestCase;

final class PrivacyTest extends TestCase {

	protected function setUp(): void {
		parent::setUp();
		$this->gateway['/v1/chat/completions'] = self::completion( 'The answer.' );
		$this->gateway['/v1/stream_grants']    = array( 201, array( 'url' => self::GATEWAY . '/v1/stream_grants/t' ) );
	}

	private function kept() {
		global $wpdb;
		return $wpdb->get_results( 'SELECT * FROM ' . Transcripts::table(), ARRAY_A );
	}

	public function test_nothing_is_kept_unless_the_owner_wants_it() {
		$this->post( 'complete', $this->ask( 'My question' ) );
		$this->assertSame( array(), $this->kept() );
	}

	public function test_what_is_kept_is_exported_and_erased() {
		$this->settings( array( 'retention_days' => 7 ) );
		$user = get_userdata( $this->user( 'subscriber' ) );
		wp_set_current_user( $user->ID );
		$this->post( 'complete', $this->ask( 'My question' ) );
		wp_set_current_user( 0 );
		$this->post( 'complete', $this->ask( 'A guest asks' ) );

		$exporter = apply_filters( 'wp_privacy_personal_data_exporters', array() )['stagedoor']['callback'];
		$export   = $exporter( $user->user_email, 1 );
		$this->assertTrue( $export['done'] );
		$text = wp_json_encode( $export['data'] );
		$this->assertStringContainsString( 'My question', $text );
		$this->assertStringContainsString( 'The answer.', $text );
		$this->assertStringNotContainsString( 'guest asks', $text );
		$this->assertStringNotContainsString( self::KEY, $text );

		$eraser = apply_filters( 'wp_privacy_personal_data_erasers', array() )['stagedoor']['callback'];
		$this->assertTrue( $eraser( $user->user_email, 1 )['items_removed'] );
		$this->assertSame( array(), $exporter( $user->user_email, 1 )['data'] );
		$this->assertCount( 1, $this->kept() );
		$this->assertFalse( $eraser( 'nobody@example.com', 1 )['items_removed'] );
	}

	public function test_a_deleted_account_takes_its_conversations_along() {
		$this->settings( array( 'retention_days' => 7 ) );
		$user = $this->user( 'subscriber' );
		wp_set_current_user( $user );
		$this->post( 'complete', $this->ask() );
		wp_set_current_user( 0 );
		wp_delete_user( $user );
		$this->assertSame( array(), $this->kept() );
	}

	public function test_an_answer_that_came_from_the_gateway_is_kept_as_the_browser_tells_it() {
		$this->settings( array( 'retention_days' => 7 ) );
		$given = $this->post( 'grants', $this->ask() )->get_data();
		$this->assertSame( 'started', $this->kept()[0]['status'] );
		$this->post( 'report', array( 'ticket' => $given['ticket'], 'status' => 'complete', 'text' => 'As it was shown' ) );
		$this->assertSame( array( 'complete', 'As it was shown' ), array( $this->kept()[0]['status'], $this->kept()[0]['answer'] ) );
	}

	public function test_old_conversations_are_forgotten() {
		global $wpdb;
		$this->settings( array( 'retention_days' => 7 ) );
		$this->post( 'complete', $this->ask( 'Old' ) );
		$wpdb->query( 'UPDATE ' . Transcripts::table() . " SET asked_at = '2020-01-01 00:00:00'" );
		$this->post( 'complete', $this->ask( 'New' ) );
		do_action( 'stagedoor_daily' );
		$this->assertSame( array( 'New' ), wp_list_pluck( $this->kept(), 'question' ) );
	}

	public function test_a_pseudonym_is_all_the_gateway_learns_of_a_user() {
		$user = get_userdata( $this->user( 'subscriber' ) );
		wp_set_current_user( $user->ID );
		$this->post( 'complete', $this->ask() );
		$sent = wp_json_encode( end( $this->sent ) );
		$this->assertStringNotContainsString( $user->user_email, $sent );
		$this->assertStringNotContainsString( $user->user_login, $sent );
		$this->assertStringNotContainsString( '203.0.113.7', $sent );
		$this->assertMatchesRegularExpression( '/^u[0-9a-f]{32}$/', $this->last_body()['user'] );
	}
}
