<?php
/**
 * Questions and answers that the owner wants kept, for as many days as the owner says.
 * The default is not to keep any.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Kept conversations, and the hook that tells of every ended answer.
 */
final class Transcripts {

	const ANSWER_CHARS_MAX = 20000;
	const PAGE             = 100;

	/**
	 * An answer has begun to come.
	 *
	 * @param Question $question  What was asked.
	 * @param string   $transport direct, relay or buffered.
	 * @return void
	 */
	public static function started( Question $question, $transport ) {
		/**
		 * Fires when a question is on its way.
		 *
		 * @param array<string, mixed> $context   feature, post_id, model, transport.
		 * @param Question             $question  What was asked.
		 */
		do_action( 'stagedoor_stream_started', self::context( $question->feature, (int) $question->context['post_id'], $transport, $question->context['model'] ), $question );
	}

	/**
	 * An answer has ended.
	 *
	 * @param Question             $question What was asked.
	 * @param array<string, mixed> $result   status, text, usage, aborted, ms, transport, source.
	 * @return void
	 */
	public static function finished( Question $question, array $result ) {
		self::tell( $question->feature, (int) $question->context['post_id'], $result );
		if ( 'refused' !== $result['status'] ) {
			self::keep( $question, $result );
		}
	}

	/**
	 * A browser tells how an answer ended that did not pass through PHP. Its word is not
	 * more than that: `source` says so.
	 *
	 * @param array<string, mixed> $ticket The question's ticket.
	 * @param array<string, mixed> $result As sent.
	 * @return void
	 */
	public static function reported( array $ticket, array $result ) {
		self::tell( $ticket['m'], (int) $ticket['p'], $result );
		if ( self::days() > 0 && '' !== $result['text'] ) {
			global $wpdb;
			$wpdb->update( self::table(), array( 'answer' => self::bounded( $result['text'] ), 'status' => $result['status'] ), array( 'question_id' => Access::hash( 'transcript', $ticket['w'] . $ticket['q'] ) ) );
		}
	}

	/**
	 * Whether a browser's word is of any use.
	 *
	 * @return bool
	 */
	public static function wants_reports() {
		return self::days() > 0 || has_action( 'stagedoor_stream_finished' );
	}

	/**
	 * Fire the hook.
	 *
	 * @param string               $feature chat, editor or cli.
	 * @param int                  $post_id The page; 0 where it has none.
	 * @param array<string, mixed> $result  What became of it.
	 * @return void
	 */
	private static function tell( $feature, $post_id, array $result ) {
		$usage = isset( $result['usage'] ) && is_array( $result['usage'] ) ? $result['usage'] : array();
		/**
		 * Fires when an answer has ended, however it did.
		 *
		 * @param array<string, mixed> $result status (complete, aborted, failed, refused),
		 *                                     aborted, ms, tokens_in, tokens_out, finish,
		 *                                     transport, source (server, browser), feature, post_id.
		 */
		do_action(
			'stagedoor_stream_finished',
			array(
				'status'     => $result['status'],
				'aborted'    => (bool) $result['aborted'],
				'ms'         => (int) $result['ms'],
				'tokens_in'  => isset( $usage['prompt_tokens'] ) ? (int) $usage['prompt_tokens'] : 0,
				'tokens_out' => isset( $usage['completion_tokens'] ) ? (int) $usage['completion_tokens'] : 0,
				'finish'     => isset( $result['finish'] ) ? (string) $result['finish'] : '',
				'transport'  => $result['transport'],
				'source'     => $result['source'],
				'feature'    => $feature,
				'post_id'    => $post_id,
			)
		);
	}

	/**
	 * What hooks are told of a question.
	 *
	 * @param string $feature   chat, editor or cli.
	 * @param int    $post_id   The page.
	 * @param string $transport How it travels.
	 * @param string $model     The model.
	 * @return array<string, mixed>
	 */
	private static function context( $feature, $post_id, $transport, $model ) {
		return array( 'feature' => $feature, 'post_id' => $post_id, 'transport' => $transport, 'model' => $model );
	}

	/**
	 * Keep a conversation's turn, where the owner wants that.
	 *
	 * @param Question             $question What was asked.
	 * @param array<string, mixed> $result   What became of it.
	 * @return void
	 */
	public static function keep( Question $question, array $result ) {
		global $wpdb;
		if ( self::days() <= 0 || 'chat' !== $question->feature ) {
			return;
		}
		$wpdb->insert(
			self::table(),
			array(
				'question_id' => Access::hash( 'transcript', $question->who() . $question->id ),
				'asked_at'    => gmdate( 'Y-m-d H:i:s' ),
				'user_id'     => get_current_user_id(),
				'post_id'     => (int) $question->context['post_id'],
				'status'      => $result['status'],
				'question'    => $question->text(),
				'answer'      => self::bounded( isset( $result['text'] ) ? $result['text'] : '' ),
			)
		);
	}

	/**
	 * What a user asked.
	 *
	 * @param int $user_id The user.
	 * @param int $page    Counting from one.
	 * @return array<int, array<string, string>>
	 */
	public static function of_user( $user_id, $page ) {
		global $wpdb;
		return $wpdb->get_results(
			$wpdb->prepare( 'SELECT id, asked_at, post_id, status, question, answer FROM %i WHERE user_id = %d ORDER BY id LIMIT %d OFFSET %d', self::table(), $user_id, self::PAGE, ( $page - 1 ) * self::PAGE ),
			ARRAY_A
		);
	}

	/**
	 * Forget what a user asked.
	 *
	 * @param int $user_id The user.
	 * @return int How many turns that were.
	 */
	public static function forget_user( $user_id ) {
		global $wpdb;
		return (int) $wpdb->delete( self::table(), array( 'user_id' => $user_id ), array( '%d' ) );
	}

	/**
	 * Forget what is too old.
	 *
	 * @return void
	 */
	public static function purge() {
		global $wpdb;
		$wpdb->query( $wpdb->prepare( 'DELETE FROM %i WHERE asked_at < %s', self::table(), gmdate( 'Y-m-d H:i:s', time() - self::days() * DAY_IN_SECONDS ) ) );
	}

	/**
	 * How many days they are kept.
	 *
	 * @return int
	 */
	private static function days() {
		return (int) Settings::get( 'retention_days' );
	}

	/**
	 * Where they are.
	 *
	 * @return string
	 */
	public static function table() {
		global $wpdb;
		return $wpdb->prefix . 'stagedoor_transcripts';
	}

	/**
	 * As much of a text as is kept.
	 *
	 * @param string $text The text.
	 * @return string
	 */
	private static function bounded( $text ) {
		return mb_substr( wp_check_invalid_utf8( $text, true ), 0, self::ANSWER_CHARS_MAX );
	}
}
