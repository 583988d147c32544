<?php
/**
 * Proof that a question was counted, for its way from one transport to the next: it is
 * neither counted nor generated a second time.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Tickets, sealed for the browser to carry.
 */
final class Ticket {

	const LIVES_S = 5 * MINUTE_IN_SECONDS;

	/**
	 * Make one.
	 *
	 * @param Question    $question The question that was counted.
	 * @param string|null $url      The grant that waits for it.
	 * @return string
	 */
	public static function make( Question $question, $url = null ) {
		return Sealed::seal(
			'ticket',
			array(
				'q' => $question->id,
				'w' => $question->who(),
				'f' => $question->fingerprint(),
				'u' => $url,
				'o' => $question->origin(),
				'm' => $question->feature,
				'p' => (int) $question->context['post_id'],
				'e' => time() + self::LIVES_S,
			)
		);
	}

	/**
	 * Read one that belongs to this visitor and this question.
	 *
	 * @param mixed         $sealed   As sent.
	 * @param Question|null $question The question; null where only the visitor matters.
	 * @return array<string, mixed>|null
	 */
	public static function read( $sealed, $question = null ) {
		$ticket = Sealed::open( 'ticket', $sealed );
		if ( ! is_array( $ticket ) || $ticket['e'] < time() || Access::visitor() !== $ticket['w'] ) {
			return null;
		}
		if ( $question && ( $question->id !== $ticket['q'] || $question->fingerprint() !== $ticket['f'] ) ) {
			return null;
		}
		return $ticket;
	}
}
