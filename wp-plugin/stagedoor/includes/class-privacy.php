<?php
/**
 * WordPress' privacy tools: a suggestion for the policy, export and erasure.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * What is kept of people, told and forgotten on request.
 */
final class Privacy {

	/**
	 * Suggest a paragraph for the policy.
	 *
	 * @return void
	 */
	public static function policy() {
		$days = (int) Settings::get( 'retention_days' );
		$kept = $days > 0
			/* translators: %d: number of days. */
			? sprintf( _n( 'Questions and answers are kept on this site for %d day.', 'Questions and answers are kept on this site for %d days.', $days, 'stagedoor' ), $days )
			: __( 'This site keeps neither questions nor answers.', 'stagedoor' );
		$text = '<p>' . esc_html__( 'When you ask the assistant, your question, the conversation so far and the page it belongs to are sent to our language model gateway and from there to a model provider, who writes the answer. If you are logged in, a pseudonym that stands for your account is sent along; your name and your address are not.', 'stagedoor' ) . '</p>'
			. '<p>' . esc_html( $kept ) . ' ' . esc_html__( 'To keep the number of questions within limits, a keyed hash of your network address or your account is kept for as long as the limit counts. The conversation is in your browser’s tab until you close it or log out.', 'stagedoor' ) . '</p>';
		wp_add_privacy_policy_content( 'Stagedoor', $text );
	}

	/**
	 * Add the exporter.
	 *
	 * @param array<string, mixed> $exporters Those of others.
	 * @return array<string, mixed>
	 */
	public static function exporters( $exporters ) {
		$exporters['stagedoor'] = array(
			'exporter_friendly_name' => __( 'Stagedoor conversations', 'stagedoor' ),
			'callback'               => array( __CLASS__, 'export' ),
		);
		return $exporters;
	}

	/**
	 * Add the eraser.
	 *
	 * @param array<string, mixed> $erasers Those of others.
	 * @return array<string, mixed>
	 */
	public static function erasers( $erasers ) {
		$erasers['stagedoor'] = array(
			'eraser_friendly_name' => __( 'Stagedoor conversations', 'stagedoor' ),
			'callback'             => array( __CLASS__, 'erase' ),
		);
		return $erasers;
	}

	/**
	 * What is kept of somebody.
	 *
	 * @param string $email Whose.
	 * @param int    $page  Counting from one.
	 * @return array{data: array, done: bool}
	 */
	public static function export( $email, $page = 1 ) {
		$user = get_user_by( 'email', $email );
		if ( ! $user ) {
			return array( 'data' => array(), 'done' => true );
		}
		$data  = array();
		$turns = Transcripts::of_user( $user->ID, max( 1, (int) $page ) );
		foreach ( $turns as $turn ) {
			$data[] = self::item(
				'turn-' . $turn['id'],
				array(
					__( 'Asked at (UTC)', 'stagedoor' ) => $turn['asked_at'],
					__( 'Page', 'stagedoor' )           => $turn['post_id'] ? (string) get_permalink( (int) $turn['post_id'] ) : '',
					__( 'Question', 'stagedoor' )       => $turn['question'],
					__( 'Answer', 'stagedoor' )         => $turn['answer'],
				)
			);
		}
		$used = Limiter::used_by( $user->ID );
		if ( 1 === (int) $page && $used > 0 ) {
			$data[] = self::item( 'count', array( __( 'Questions counted in the current window', 'stagedoor' ) => (string) $used ) );
		}
		return array( 'data' => $data, 'done' => count( $turns ) < Transcripts::PAGE );
	}

	/**
	 * One item of an export.
	 *
	 * @param string                $id     Its name.
	 * @param array<string, string> $fields What it says.
	 * @return array<string, mixed>
	 */
	private static function item( $id, array $fields ) {
		$data = array();
		foreach ( $fields as $name => $value ) {
			$data[] = array( 'name' => $name, 'value' => $value );
		}
		return array(
			'group_id'    => 'stagedoor',
			'group_label' => __( 'Assistant', 'stagedoor' ),
			'item_id'     => 'stagedoor-' . $id,
			'data'        => $data,
		);
	}

	/**
	 * Forget somebody.
	 *
	 * @param string $email Whom.
	 * @return array<string, mixed>
	 */
	public static function erase( $email ) {
		$user    = get_user_by( 'email', $email );
		$removed = $user ? self::forget_user( $user->ID ) : 0;
		return array(
			'items_removed'  => $removed > 0,
			'items_retained' => false,
			'messages'       => array(),
			'done'           => true,
		);
	}

	/**
	 * Who has logged out leaves no conversation in the tab for who sits there next.
	 *
	 * @return void
	 */
	public static function forget_tab() {
		if ( isset( $_GET['loggedout'] ) ) { // phpcs:ignore WordPress.Security.NonceVerification -- Core's word that somebody has; nothing is changed here.
			wp_print_inline_script_tag( "try { Object.keys( sessionStorage ).filter( ( key ) => key.startsWith( 'stagedoor:conversation:' ) ).forEach( ( key ) => sessionStorage.removeItem( key ) ); } catch ( error ) { /* No storage, nothing kept. */ }" );
		}
	}

	/**
	 * Forget a user: asked for, or because the account is gone.
	 *
	 * @param int $user_id The user.
	 * @return int How much that was.
	 */
	public static function forget_user( $user_id ) {
		return Transcripts::forget_user( (int) $user_id ) + Limiter::forget_user( (int) $user_id );
	}
}
