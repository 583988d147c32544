<?php
/**
 * The chats that a post's content holds, as blocks or as shortcodes.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Contents, as stored.
 */
final class Content {

	/**
	 * The chats that a post's own content holds.
	 *
	 * @param int $post_id The post.
	 * @return array<int, array<string, mixed>>
	 */
	public static function chats( $post_id ) {
		$content = (string) get_post_field( 'post_content', $post_id, 'raw' );
		$found   = array();
		if ( false !== strpos( $content, 'wp:' . Chat::BLOCK ) ) {
			self::collect( parse_blocks( $content ), $found );
		}
		if ( false !== strpos( $content, '[' . Chat::SHORTCODE ) && preg_match_all( '/' . get_shortcode_regex( array( Chat::SHORTCODE ) ) . '/s', $content, $matches, PREG_SET_ORDER ) ) {
			foreach ( $matches as $match ) {
				$found[] = Attributes::what_counts( Attributes::normal( Attributes::of_shortcode( shortcode_parse_atts( $match[3] ), isset( $match[5] ) ? $match[5] : null ) ) );
			}
		}
		return $found;
	}

	/**
	 * A content without what its chats say to models; what they say to visitors stays.
	 *
	 * @param string $content As stored.
	 * @return string
	 */
	public static function without_prompts( $content ) {
		$content = preg_replace_callback(
			'/<!--\s+wp:' . preg_quote( Chat::BLOCK, '/' ) . '\s+(\{.*?\})\s+\/?-->/s',
			static function ( $match ) {
				return self::said( Attributes::normal( (array) json_decode( $match[1], true ) ) );
			},
			$content
		);
		return (string) preg_replace_callback(
			'/' . get_shortcode_regex( array( Chat::SHORTCODE ) ) . '/s',
			static function ( $match ) {
				return self::said( Attributes::normal( Attributes::of_shortcode( shortcode_parse_atts( $match[3] ), null ) ) );
			},
			(string) $content
		);
	}

	/**
	 * What visitors read of a chat.
	 *
	 * @param array<string, mixed> $chat Normal attributes.
	 * @return string
	 */
	private static function said( array $chat ) {
		return implode( "\n", array_merge( array( $chat['title'], $chat['greeting'] ), $chat['suggestions'] ) );
	}

	/**
	 * Chats among blocks, however deep.
	 *
	 * @param array<int, array<string, mixed>> $blocks Parsed blocks.
	 * @param array<int, array<string, mixed>> $found  Where they go.
	 * @return void
	 */
	private static function collect( array $blocks, array &$found ) {
		foreach ( $blocks as $block ) {
			if ( Chat::BLOCK === $block['blockName'] ) {
				$found[] = Attributes::what_counts( Attributes::normal( $block['attrs'] ) );
			}
			self::collect( $block['innerBlocks'], $found );
		}
	}
}
