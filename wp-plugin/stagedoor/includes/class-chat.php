<?php
/**
 * The block and the shortcode: attributes, HTML, and the reference that a page carries.
 *
 * The reference holds the chat's model and prompt, sealed. When the chat stands in the
 * content of a post, it is good only while the post still holds a chat like it and can be
 * read: who changes or removes a chat also ends what old copies of the page could ask.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * `stagedoor/chat` and `[stagedoor_chat]`.
 */
final class Chat {

	const BLOCK     = 'stagedoor/chat';
	const SHORTCODE = 'stagedoor_chat';

	/**
	 * Whether what is rendered is for an editor to look at.
	 *
	 * @var bool
	 */
	private static $is_preview = false;

	/**
	 * Make both known.
	 *
	 * @return void
	 */
	public static function register() {
		Plugin::register_assets();
		register_block_type(
			dirname( MAIN_FILE ) . '/block',
			array(
				// As in block.json, where the tool that collects strings does not look offline.
				'title'                 => __( 'Stagedoor chat', 'stagedoor' ),
				'description'           => __( 'A chat with a language model, through your Stagedoor gateway.', 'stagedoor' ),
				'render_callback'       => array( __CLASS__, 'render_block' ),
				'view_script_handles'   => array( 'stagedoor-view' ),
				'style_handles'         => array( 'stagedoor-view' ),
				'editor_script_handles' => array( 'stagedoor-editor' ),
				'editor_style_handles'  => array( 'stagedoor-editor' ),
			)
		);
		add_shortcode( self::SHORTCODE, array( __CLASS__, 'render_shortcode' ) );
	}

	/**
	 * Core's block renderer shows any attributes to whoever may edit anything. What it shows
	 * is to be looked at: a reference in it would be a contributor's own model and prompt,
	 * good for ever, in no page.
	 *
	 * @param mixed            $response So far.
	 * @param array            $handler  The route's.
	 * @param \WP_REST_Request $request  The request.
	 * @return mixed
	 */
	public static function preview( $response, $handler, $request ) {
		self::$is_preview = 'rest_request_before_callbacks' === current_filter() && 0 === strpos( $request->get_route(), '/wp/v2/block-renderer/' );
		return $response;
	}

	/**
	 * The block.
	 *
	 * @param array<string, mixed> $attributes As saved.
	 * @return string HTML.
	 */
	public static function render_block( $attributes ) {
		$wrapper = get_block_wrapper_attributes( array( 'class' => 'stagedoor-chat' ) );
		return self::render( Attributes::normal( $attributes ), $wrapper );
	}

	/**
	 * The shortcode.
	 *
	 * @param array<string, string>|string $given   As typed.
	 * @param string|null                  $content A system prompt between the tags.
	 * @return string HTML.
	 */
	public static function render_shortcode( $given, $content = null ) {
		wp_enqueue_script( 'stagedoor-view' );
		wp_enqueue_style( 'stagedoor-view' );
		$attributes = Attributes::of_shortcode( $given, $content );
		$id         = is_array( $given ) && isset( $given['id'] ) ? sanitize_html_class( $given['id'] ) : '';
		return self::render( Attributes::normal( $attributes ), 'class="stagedoor-chat"' . ( '' !== $id ? ' id="' . esc_attr( $id ) . '"' : '' ) );
	}

	/**
	 * The HTML. It is the same for every visitor, so that pages can be cached: who asks is
	 * found out when somebody does.
	 *
	 * @param array<string, mixed> $chat    Normal attributes.
	 * @param string               $wrapper The outer element's attributes, escaped.
	 * @return string
	 */
	private static function render( array $chat, $wrapper ) {
		if ( is_feed() ) {
			return '';
		}
		if ( ! Settings::is_ready() ) {
			return current_user_can( 'stagedoor_manage' )
				? '<p class="stagedoor-unready">' . sprintf(
					/* translators: %s: address of the settings screen. */
					wp_kses( __( 'Only you see this: the chat appears here once <a href="%s">Stagedoor is set up</a>.', 'stagedoor' ), array( 'a' => array( 'href' => array() ) ) ),
					esc_url( admin_url( 'options-general.php?page=stagedoor' ) )
				) . '</p>'
				: '';
		}
		$id     = wp_unique_id( 'stagedoor-' );
		$config = array(
			'chat'   => self::$is_preview ? '' : self::reference( $chat, self::post_id() ),
			'order'  => Verdict::order( $chat ),
			'format' => $chat['format'],
		);
		self::tell_site();
		$title       = '' !== $chat['title'] ? $chat['title'] : __( 'Assistant', 'stagedoor' );
		$placeholder = '' !== $chat['placeholder'] ? $chat['placeholder'] : __( 'Ask a question …', 'stagedoor' );
		$suggestions = '';
		foreach ( $chat['suggestions'] as $suggestion ) {
			if ( '' !== $suggestion ) {
				$suggestions .= '<button type="button" class="stagedoor-chat__suggestion">' . esc_html( $suggestion ) . '</button>';
			}
		}
		$html = '<div ' . $wrapper . ' data-stagedoor="' . esc_attr( (string) wp_json_encode( $config ) ) . '" data-theme="' . esc_attr( $chat['theme'] ) . '">'
			. '<section class="stagedoor-chat__box" aria-labelledby="' . esc_attr( $id ) . '-title">'
			. '<header class="stagedoor-chat__head"><h3 class="stagedoor-chat__title" id="' . esc_attr( $id ) . '-title">' . esc_html( $title ) . '</h3>'
			. '<button type="button" class="stagedoor-chat__new" hidden>' . esc_html__( 'New conversation', 'stagedoor' ) . '</button></header>'
			. '<div class="stagedoor-chat__log" role="log" aria-live="polite" aria-relevant="additions" aria-label="' . esc_attr__( 'Conversation', 'stagedoor' ) . '" tabindex="0">'
			. ( '' !== $chat['greeting'] ? '<div class="stagedoor-chat__turn is-assistant is-greeting"><div class="stagedoor-chat__text">' . nl2br( esc_html( $chat['greeting'] ) ) . '</div></div>' : '' )
			. '</div>'
			. ( '' !== $suggestions ? '<div class="stagedoor-chat__suggestions">' . $suggestions . '</div>' : '' )
			. '<p class="stagedoor-chat__status screen-reader-text" role="status"></p>'
			. '<form class="stagedoor-chat__form"><label class="screen-reader-text" for="' . esc_attr( $id ) . '-input">' . esc_html__( 'Your question', 'stagedoor' ) . '</label>'
			. '<textarea id="' . esc_attr( $id ) . '-input" class="stagedoor-chat__input" rows="1" maxlength="' . esc_attr( (string) Settings::get( 'question_chars' ) ) . '" placeholder="' . esc_attr( $placeholder ) . '" required></textarea>'
			. '<button type="submit" class="stagedoor-chat__send"><span>' . esc_html__( 'Send', 'stagedoor' ) . '</span></button>'
			. '<button type="button" class="stagedoor-chat__stop" hidden><span>' . esc_html__( 'Stop', 'stagedoor' ) . '</span></button></form>'
			. '<p class="stagedoor-chat__note">' . esc_html__( 'Answers are written by a language model and can be wrong.', 'stagedoor' ) . '</p>'
			. '<noscript><p>' . esc_html__( 'The chat needs JavaScript.', 'stagedoor' ) . '</p></noscript>'
			. '</section></div>';
		/**
		 * Filters a chat's HTML.
		 *
		 * @param string               $html The HTML; keep `data-stagedoor` and the class names.
		 * @param array<string, mixed> $chat The chat's settings.
		 */
		return (string) apply_filters( 'stagedoor_chat_html', $html, $chat );
	}

	/**
	 * Say where to ask, once a page, in a script: not in the chat's element. Who may write
	 * pages may write elements and their data attributes, and could send what visitors ask
	 * to somebody else.
	 *
	 * @return void
	 */
	private static function tell_site() {
		$script = wp_scripts()->query( 'stagedoor-view' );
		$before = $script && isset( $script->extra['before'] ) ? implode( '', array_filter( $script->extra['before'], 'is_string' ) ) : '';
		if ( ! $script || false !== strpos( $before, 'window.stagedoorSite' ) ) {
			return;
		}
		$site = array(
			'rest'      => esc_url_raw( rest_url( 'stagedoor/v1/' ) ),
			'probe'     => Settings::public_url() . '/healthz',
			'turnsMax'  => (int) Settings::get( 'history_max' ),
			'login'     => 'everyone' !== Settings::get( 'who' ) ? esc_url_raw( wp_login_url() ) : '', // Some sites do not tell theirs without need.
			'sentences' => Failure::sentences_of_browsers(),
		);
		wp_add_inline_script( 'stagedoor-view', 'window.stagedoorSite = ' . wp_json_encode( $site, JSON_HEX_TAG | JSON_UNESCAPED_SLASHES ) . ';', 'before' );
	}

	/**
	 * The post that is shown. One whose password was not given shows nothing of its own, so
	 * a chat beside it, in a sidebar, is not of it.
	 *
	 * @return int 0 for none.
	 */
	private static function post_id() {
		$post = get_post();
		return $post instanceof \WP_Post && ! post_password_required( $post ) ? $post->ID : 0;
	}

	/**
	 * The reference that a page carries. A chat that its post's content holds is taken from
	 * there: on its way to the page, WordPress has made paragraphs and typographic quotes of
	 * the prompt between a shortcode's tags.
	 *
	 * @param array<string, mixed> $chat    Normal attributes.
	 * @param int                  $post_id The post that is shown; 0 for none.
	 * @return string
	 */
	public static function reference( array $chat, $post_id ) {
		$what = Attributes::what_counts( $chat );
		$held = false;
		foreach ( $post_id ? Content::chats( $post_id ) : array() as $candidate ) {
			if ( $candidate === $what || Attributes::plain( $candidate ) === Attributes::plain( $what ) ) {
				$what = $candidate;
				$held = true;
				break;
			}
		}
		return Sealed::seal( 'chat', array( 'a' => $what, 'p' => $post_id, 'c' => $held ) );
	}

	/**
	 * Open a reference.
	 *
	 * @param mixed $sealed As sent.
	 * @return array<string, mixed>|\WP_Error The chat's settings, with the site's in place of what it leaves open.
	 */
	public static function open( $sealed ) {
		$reference = Sealed::open( 'chat', $sealed );
		if ( ! is_array( $reference ) ) {
			return Failure::of( 'gone', 410, 'the page’s reference is not of this site, or its salts have changed' );
		}
		if ( $reference['p'] ) {
			$post = get_post( $reference['p'] );
			if ( ! $post || ! self::is_readable( $post ) ) {
				return Failure::of( 'gone', 410, 'the page is gone, or not to be read' );
			}
			if ( $reference['c'] && ! in_array( $reference['a'], Content::chats( $post->ID ), true ) ) {
				return Failure::of( 'gone', 410, 'the page holds no such chat any more' );
			}
		}
		return self::with_defaults( $reference['a'], (int) $reference['p'] );
	}

	/**
	 * What the chat leaves open, the site decides; nobody gets more tokens than the site gives.
	 *
	 * @param array<string, mixed> $what    model, system_prompt, max_tokens.
	 * @param int                  $post_id The page.
	 * @return array<string, mixed>
	 */
	public static function with_defaults( array $what, $post_id ) {
		$tokens = (int) Settings::get( 'max_tokens' );
		return array(
			'model'         => '' !== $what['model'] ? $what['model'] : (string) Settings::get( 'model' ),
			'system_prompt' => '' !== $what['system_prompt'] ? $what['system_prompt'] : (string) Settings::get( 'system_prompt' ),
			'max_tokens'    => $what['max_tokens'] > 0 ? min( $tokens, $what['max_tokens'] ) : $tokens,
			'post_id'       => $post_id,
		);
	}

	/**
	 * Whether the current visitor can read a post.
	 *
	 * @param \WP_Post $post The post.
	 * @return bool
	 */
	private static function is_readable( \WP_Post $post ) {
		if ( is_post_publicly_viewable( $post ) ) {
			return ! post_password_required( $post );
		}
		return current_user_can( 'read_post', $post->ID );
	}

}
