<?php
/**
 * Keeps prompts out of the site's search. A chat's own prompt is in its page's content, and
 * WordPress searches contents as they are stored: word by word, a visitor could find out
 * what a prompt says by whether its page is found.
 *
 * Pages whose chats have prompts of their own are looked at here instead, without those;
 * all others are searched as ever.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The search of posts.
 */
final class Search {

	const POSTS_MAX = 200; // Of those with prompts: any more are not found by who may not read them.

	/**
	 * Add to a search's conditions.
	 *
	 * @param string    $where The conditions so far.
	 * @param \WP_Query $query The search.
	 * @return string
	 */
	public static function without_prompts( $where, $query ) {
		global $wpdb;
		if ( '' === $where || ! $query->is_search() || current_user_can( 'edit_others_posts' ) ) {
			return $where;
		}
		$with = self::with_prompts();
		if ( ! $with ) {
			return $where;
		}
		$found = array();
		foreach ( $with as $post ) {
			if ( self::is_found( $post, $query ) ) {
				$found[] = (int) $post->ID;
			}
		}
		$or = $found ? " OR {$wpdb->posts}.ID IN (" . implode( ',', $found ) . ')' : '';
		return " AND ( ( 1=1 {$where} AND NOT " . self::has_prompt() . " ){$or} )";
	}

	/**
	 * The condition that a post may hold a prompt.
	 *
	 * @return string SQL.
	 */
	private static function has_prompt() {
		global $wpdb;
		return $wpdb->prepare(
			"( {$wpdb->posts}.post_content LIKE %s OR {$wpdb->posts}.post_content LIKE %s )",
			'%' . $wpdb->esc_like( 'wp:' . Chat::BLOCK ) . '%systemPrompt%',
			'%' . $wpdb->esc_like( '[' . Chat::SHORTCODE ) . '%'
		);
	}

	/**
	 * Posts whose chats have prompts of their own.
	 *
	 * @return array<int, object>
	 */
	private static function with_prompts() {
		global $wpdb;
		$has_prompt = self::has_prompt();
		// phpcs:ignore WordPress.DB.PreparedSQL -- `has_prompt` is prepared.
		return (array) $wpdb->get_results( "SELECT ID, post_title, post_excerpt, post_content, post_password FROM {$wpdb->posts} WHERE post_status NOT IN ( 'trash', 'auto-draft' ) AND post_type <> 'revision' AND {$has_prompt} ORDER BY ID LIMIT " . self::POSTS_MAX );
	}

	/**
	 * Whether a post is found by what can be read of it.
	 *
	 * @param object    $post  The post.
	 * @param \WP_Query $query The search.
	 * @return bool
	 */
	private static function is_found( $post, $query ) {
		if ( '' !== $post->post_password && ! is_user_logged_in() ) {
			return false; // As core has it.
		}
		$text  = $post->post_title . "\n" . $post->post_excerpt . "\n" . Content::without_prompts( $post->post_content );
		$terms = (array) $query->get( 'search_terms' );
		$not   = apply_filters( 'wp_query_search_exclusion_prefix', '-' ); // phpcs:ignore WordPress.NamingConventions.PrefixAllGlobals -- Core's own filter: we read what core reads.
		foreach ( $terms as $term ) {
			$is_not = $not && 0 === strpos( $term, $not );
			$word   = preg_quote( $is_not ? substr( $term, strlen( $not ) ) : $term, '/' );
			if ( (bool) preg_match( "/{$word}/iu", $text ) === $is_not ) {
				return false;
			}
		}
		return (bool) $terms;
	}
}
