<?php

namespace Stagedoor\Tests\Unit;

use Stagedoor\Settings;
use Stagedoor\Tests\TestCase;

final class SettingsTest extends TestCase {

	/**
	 * @dataProvider addresses
	 */
	public function test_addresses_are_tidied_or_refused( $typed, $kept ) {
		$saved = Settings::sanitize( array( 'base_url' => $typed ) );
		$this->assertSame( $kept, $saved['base_url'] );
	}

	public static function addresses() {
		return array(
			array( 'https://ai.example.com/', 'https://ai.example.com' ),
			array( ' https://ai.example.com/v1/ ', 'https://ai.example.com' ),
			array( 'http://10.0.0.5:8080', 'http://10.0.0.5:8080' ),
			array( 'https://ai.example.com/llm/v1', 'https://ai.example.com/llm' ),
			array( '', '' ),
			array( 'javascript:alert(1)', self::GATEWAY ),
			array( 'ftp://x', self::GATEWAY ),
			array( 'https://user:pass@x', self::GATEWAY ),
			array( 'https://x?a=b', self::GATEWAY ),
			array( 'not an address', self::GATEWAY ),
		);
	}

	public function test_the_key_goes_to_its_own_option_and_never_into_the_settings() {
		$saved = Settings::sanitize( array( 'api_key' => 'sd-another-key-0002', 'form' => '1' ) );
		$this->assertSame( 'sd-another-key-0002', Settings::api_key() );
		$this->assertStringNotContainsString( 'another-key', wp_json_encode( $saved ) );
	}

	public function test_an_empty_or_masked_key_changes_nothing() {
		Settings::sanitize( array( 'api_key' => '' ) );
		Settings::sanitize( array( 'api_key' => Settings::masked_key() ) );
		$this->assertSame( self::KEY, Settings::api_key() );
		$this->assertStringEndsWith( substr( self::KEY, -4 ), Settings::masked_key() );
		$this->assertStringNotContainsString( substr( self::KEY, 0, 8 ), Settings::masked_key() );
	}

	public function test_a_key_is_sent_to_no_other_address_than_its_own() {
		Settings::sanitize( array( 'base_url' => self::GATEWAY . '/v1', 'form' => '1' ) );
		$this->assertSame( self::KEY, Settings::api_key(), 'the same gateway' );
		Settings::sanitize( array( 'base_url' => 'https://elsewhere.test' ) );
		$this->assertSame( '', Settings::api_key() );
		$this->assertStringContainsString( 'forgotten', wp_json_encode( get_settings_errors( Settings::OPTION ) ) );
		Settings::sanitize( array( 'base_url' => 'https://elsewhere.test', 'api_key' => 'sd-of-elsewhere-01' ) );
		$this->assertSame( 'sd-of-elsewhere-01', Settings::api_key() );
	}

	public function test_an_address_that_is_emptied_takes_its_key_along() {
		Settings::sanitize( array( 'base_url' => '' ) );
		$this->assertSame( '', Settings::api_key() );
	}

	/**
	 * @dataProvider worrying
	 */
	public function test_an_unencrypted_way_is_worth_a_word_unless_it_is_short( $base, $codes ) {
		$this->assertSame( $codes, array_keys( \Stagedoor\Address::worries( $base, $base ) ) );
		add_filter( 'home_url', array( __CLASS__, 'https' ) );
		$mixed = array_keys( \Stagedoor\Address::worries( 'https://gateway.test', $base ) );
		remove_filter( 'home_url', array( __CLASS__, 'https' ) );
		$this->assertSame( 0 === strpos( $base, 'http:' ) && false === strpos( $base, 'localhost' ) ? array( 'stagedoor_mixed' ) : array(), $mixed );
	}

	public static function https( $url ) {
		return str_replace( 'http:', 'https:', $url );
	}

	public static function worrying() {
		return array(
			array( 'https://ai.example.com', array() ),
			array( 'http://ai.example.com', array( 'stagedoor_plain' ) ),
			array( 'http://8.8.8.8:8080', array( 'stagedoor_plain' ) ),
			array( 'http://10.0.0.5:8080', array() ),
			array( 'http://localhost:8080', array() ),
			array( 'http://gateway', array() ),
			array( 'http://gateway.internal', array() ),
		);
	}

	public function test_a_key_can_be_forgotten() {
		Settings::sanitize( array( 'forget_key' => '1' ) );
		$this->assertSame( '', Settings::api_key() );
		$this->assertFalse( Settings::is_ready() );
	}

	public function test_numbers_stay_within_their_bounds_and_words_among_their_choices() {
		$saved = Settings::sanitize( array( 'max_tokens' => '-5', 'limit_guest' => '99999999', 'relay_max' => 'many', 'transport' => 'pigeon', 'who' => 'roles', 'roles' => array( 'editor', 'nobody', array() ) ) );
		$this->assertSame( 1, $saved['max_tokens'] );
		$this->assertSame( 100000, $saved['limit_guest'] );
		$this->assertSame( 2, $saved['relay_max'] );
		$this->assertSame( 'auto', $saved['transport'] );
		$this->assertSame( array( 'editor' ), $saved['roles'] );
	}

	public function test_boxes_that_are_not_ticked_are_off_in_a_form_and_unchanged_elsewhere() {
		$this->assertFalse( Settings::sanitize( array( 'form' => '1' ) )['editor'] );
		$this->assertTrue( Settings::sanitize( array( 'model' => 'b' ) )['editor'] );
	}

	public function test_what_a_command_or_another_plugin_saves_is_made_safe_too() {
		$this->settings( array( 'roles' => array( 'editor' ) ) );
		update_option( Settings::OPTION, array( 'limit_guest_window' => 'century', 'base_url' => 'https://ai.example.com/v1' ) );
		$this->assertSame( array( 'hour', 'https://ai.example.com', array( 'editor' ) ), array( Settings::get( 'limit_guest_window' ), Settings::base_url(), Settings::get( 'roles' ) ) );
	}

	public function test_prompts_keep_their_lines_and_tags() {
		$saved = Settings::sanitize( array( 'system_prompt' => "Be <b>brief</b>.\r\nAnswer in \"JSON\".\x00" ) );
		$this->assertSame( "Be <b>brief</b>.\nAnswer in \"JSON\".", $saved['system_prompt'] );
	}

	public function test_neither_option_is_loaded_on_every_page() {
		global $wpdb;
		$loaded = $wpdb->get_col( "SELECT option_name FROM {$wpdb->options} WHERE option_name IN ('stagedoor_settings', 'connectors_ai_stagedoor_api_key') AND autoload IN ('yes', 'on', 'auto', 'auto-on')" );
		$this->assertSame( array(), $loaded );
	}

	/**
	 */
	public function test_the_screen_shows_no_key() {
		wp_set_current_user( $this->user( 'administrator' ) );
		ob_start();
		\Stagedoor\Settings_Page::render();
		$html = ob_get_clean();
		$this->assertStringContainsString( 'stagedoor-api_key', $html );
		$this->assertStringNotContainsString( self::KEY, $html );
	}
}
