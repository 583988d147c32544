<?php
/**
 * One question, as a browser may ask it: text and a reference. Model, system prompt and
 * bounds are read here, on the server, from what an editor or the owner set.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * A validated question.
 */
final class Question {

	const TOTAL_CHARS_MAX = 60000; // Of a conversation; older turns are dropped first.
	const ID_PATTERN      = '/^[A-Za-z0-9-]{16,64}$/';

	/**
	 * The browser's name for it; the same name is never asked twice.
	 *
	 * @var string
	 */
	public $id;

	/**
	 * Which part of the plugin asks: chat, editor, cli.
	 *
	 * @var string
	 */
	public $feature;

	/**
	 * The chat's or the action's settings: model, system_prompt, max_tokens, post_id.
	 *
	 * @var array<string, mixed>
	 */
	public $context;

	/**
	 * Turns, oldest first: role and content.
	 *
	 * @var array<int, array<string, string>>
	 */
	private $messages;

	/**
	 * Take what was checked.
	 *
	 * @param string                            $id       The browser's name for it.
	 * @param string                            $feature  Which part of the plugin asks.
	 * @param array<string, mixed>              $context  Its settings.
	 * @param array<int, array<string, string>> $messages Its turns.
	 */
	public function __construct( $id, $feature, array $context, array $messages ) {
		$this->id       = $id;
		$this->feature  = $feature;
		$this->context  = $context;
		$this->messages = $messages;
	}

	/**
	 * Read a request of one of the three transports.
	 *
	 * @param \WP_REST_Request $request The request.
	 * @return self|\WP_Error
	 */
	public static function from_request( \WP_REST_Request $request ) {
		$id = $request->get_param( 'question' );
		if ( ! is_string( $id ) || ! preg_match( self::ID_PATTERN, $id ) ) {
			return Failure::of( 'invalid', 400, '`question` must be a random name of 16 to 64 letters and digits' );
		}
		if ( null !== $request->get_param( 'action' ) ) {
			return Editor::question( $id, $request );
		}
		$context = Chat::open( $request->get_param( 'chat' ) );
		if ( is_wp_error( $context ) ) {
			return $context;
		}
		/**
		 * Filters whether the current visitor may ask in this chat.
		 *
		 * @param bool|\WP_Error       $can     Whether; an error says why not.
		 * @param array<string, mixed> $context The chat's settings.
		 */
		$can = apply_filters( 'stagedoor_can_chat', current_user_can( 'stagedoor_chat' ), $context );
		if ( is_wp_error( $can ) ) {
			return $can;
		}
		if ( true !== $can ) {
			return is_user_logged_in() ? Failure::of( 'forbidden', 403 ) : Failure::of( 'members', 401 );
		}
		$messages = self::read_messages( $request->get_param( 'messages' ) );
		return is_wp_error( $messages ) ? $messages : new self( $id, 'chat', $context, $messages );
	}

	/**
	 * Turns as a browser sends them: only a visitor's and the assistant's, the last one a
	 * visitor's. Nobody but the server says what the system prompt is.
	 *
	 * @param mixed $given As sent.
	 * @return array<int, array<string, string>>|\WP_Error
	 */
	private static function read_messages( $given ) {
		if ( ! is_array( $given ) || ! $given || ! wp_is_numeric_array( $given ) ) {
			return Failure::of( 'invalid', 400, '`messages` must be a list of turns' );
		}
		$given    = array_slice( $given, -1 * (int) Settings::get( 'history_max' ) );
		$last     = count( $given ) - 1;
		$messages = array();
		foreach ( array_values( $given ) as $index => $turn ) {
			$role = is_array( $turn ) && isset( $turn['role'] ) ? $turn['role'] : '';
			$text = is_array( $turn ) && isset( $turn['content'] ) && is_string( $turn['content'] ) ? $turn['content'] : null;
			if ( null === $text || ! in_array( $role, array( 'user', 'assistant' ), true ) || ( $index === $last && 'user' !== $role ) ) {
				return Failure::of( 'invalid', 400, 'a turn has the role user or assistant and a text; the last one is the user’s' );
			}
			$text = Settings::paragraphs( $text, self::TOTAL_CHARS_MAX + 1 );
			if ( $index === $last && '' === $text ) {
				return Failure::of( 'invalid', 400, 'the question is empty' );
			}
			if ( $index === $last && mb_strlen( $text ) > (int) Settings::get( 'question_chars' ) ) {
				return Failure::of( 'too_long', 400, 'the question is longer than question_chars' );
			}
			if ( '' !== $text ) {
				$messages[] = array( 'role' => $role, 'content' => $text );
			}
		}
		return self::newest( $messages );
	}

	/**
	 * As many of the newest turns as fit, beginning with a visitor's.
	 *
	 * @param array<int, array<string, string>> $messages All turns.
	 * @return array<int, array<string, string>>
	 */
	private static function newest( array $messages ) {
		$total = 0;
		$kept  = array();
		foreach ( array_reverse( $messages ) as $turn ) {
			$total += mb_strlen( $turn['content'] );
			if ( $kept && $total > self::TOTAL_CHARS_MAX ) {
				break;
			}
			array_unshift( $kept, $turn );
		}
		while ( count( $kept ) > 1 && 'assistant' === $kept[0]['role'] ) {
			array_shift( $kept );
		}
		return $kept;
	}

	/**
	 * The body of the gateway's /v1/chat/completions.
	 *
	 * @param bool $stream Whether piece by piece.
	 * @return array<string, mixed>
	 */
	public function body( $stream ) {
		/**
		 * Filters the system prompt, for instance to add what the page is about.
		 *
		 * @param string               $prompt   As set for the chat, else for the site.
		 * @param array<string, mixed> $context  The chat's settings; `post_id` may be 0.
		 * @param string               $feature  chat, editor or cli.
		 */
		$prompt   = (string) apply_filters( 'stagedoor_system_prompt', $this->context['system_prompt'], $this->context, $this->feature );
		$messages = $this->messages;
		if ( '' !== trim( $prompt ) ) {
			array_unshift( $messages, array( 'role' => 'system', 'content' => $prompt ) );
		}
		$body = array(
			'model'      => $this->context['model'],
			'messages'   => $messages,
			'max_tokens' => $this->context['max_tokens'],
			'stream'     => $stream,
		);
		if ( $stream ) {
			$body['stream_options'] = array( 'include_usage' => true );
		}
		if ( is_user_logged_in() ) {
			$body['user'] = Access::user_hash( get_current_user_id() );
		}
		/**
		 * Filters the whole request to the gateway.
		 *
		 * @param array<string, mixed> $body    As OpenAI's chat completions have it.
		 * @param array<string, mixed> $context The chat's settings.
		 * @param string               $feature chat, editor or cli.
		 */
		$filtered           = (array) apply_filters( 'stagedoor_request_body', $body, $this->context, $this->feature );
		$filtered['stream'] = $stream; // The transport's decision, not the request's.
		return $filtered;
	}

	/**
	 * What it is called towards the gateway: the same name gets the same answer there, and
	 * no visitor can guess another's.
	 *
	 * @return array<string, string>
	 */
	public function headers() {
		return array(
			'Idempotency-Key'     => 'wp-' . Access::hash( 'question', $this->who() . '|' . $this->id ),
			'X-Stagedoor-Feature' => $this->feature,
		);
	}

	/**
	 * Whose question it is.
	 *
	 * @return string
	 */
	public function who() {
		return Access::visitor();
	}

	/**
	 * The page's origin: grants are bound to it.
	 *
	 * @return string
	 */
	public function origin() {
		$origin = isset( $_SERVER['HTTP_ORIGIN'] ) ? strtolower( sanitize_text_field( wp_unslash( $_SERVER['HTTP_ORIGIN'] ) ) ) : '';
		return in_array( $origin, Access::origins(), true ) ? $origin : Access::origin_of( home_url() );
	}

	/**
	 * The visitor's last words.
	 *
	 * @return string
	 */
	public function text() {
		return $this->messages[ count( $this->messages ) - 1 ]['content'];
	}

	/**
	 * What makes two questions the same question.
	 *
	 * @return string
	 */
	public function fingerprint() {
		return Access::hash( 'fingerprint', (string) wp_json_encode( array( $this->feature, $this->context, $this->messages ) ) );
	}
}
