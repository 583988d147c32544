<?php
/**
 * A chat's attributes: the block's and the shortcode's, made one, with bounds and defaults.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Attributes, as saved and as typed.
 */
final class Attributes {

	const SUGGESTIONS_MAX = 6;

	/**
	 * A shortcode's attributes, named as the block's are.
	 *
	 * @param array<string, string>|string $given   As typed.
	 * @param string|null                  $content What is between the tags.
	 * @return array<string, mixed>
	 */
	public static function of_shortcode( $given, $content ) {
		$given   = shortcode_atts(
			array(
				'title'         => '',
				'greeting'      => '',
				'placeholder'   => '',
				'suggestions'   => '',
				'model'         => '',
				'system_prompt' => '',
				'max_tokens'    => 0,
				'format'        => 'markdown',
				'theme'         => 'auto',
				'id'            => '',
			),
			is_array( $given ) ? $given : array(),
			Chat::SHORTCODE
		);
		$between = is_string( $content ) ? html_entity_decode( wp_strip_all_tags( $content ), ENT_QUOTES, 'UTF-8' ) : '';
		return array_merge(
			$given,
			array(
				'suggestions'  => array_filter( array_map( 'trim', explode( '|', $given['suggestions'] ) ) ),
				'systemPrompt' => '' !== trim( $between ) ? $between : $given['system_prompt'],
				'maxTokens'    => $given['max_tokens'],
			)
		);
	}

	/**
	 * Attributes, checked and with their defaults.
	 *
	 * @param array<string, mixed> $given As saved.
	 * @return array<string, mixed>
	 */
	public static function normal( array $given ) {
		$given = array_merge( array( 'title' => '', 'greeting' => '', 'placeholder' => '', 'suggestions' => array(), 'model' => '', 'systemPrompt' => '', 'maxTokens' => 0, 'format' => 'markdown', 'theme' => 'auto' ), $given );
		return array(
			'title'         => Settings::text( $given['title'], 200 ),
			'greeting'      => Settings::paragraphs( $given['greeting'], 2000 ),
			'placeholder'   => Settings::text( $given['placeholder'], 200 ),
			'suggestions'   => array_slice(
				array_map(
					static function ( $text ) {
						return Settings::text( $text, 200 );
					},
					array_values( (array) $given['suggestions'] )
				),
				0,
				self::SUGGESTIONS_MAX
			),
			'model'         => Settings::text( $given['model'], 200 ),
			'system_prompt' => Settings::paragraphs( $given['systemPrompt'], 20000 ),
			'max_tokens'    => max( 0, (int) $given['maxTokens'] ),
			'format'        => 'text' === $given['format'] ? 'text' : 'markdown',
			'theme'         => in_array( $given['theme'], array( 'light', 'dark' ), true ) ? $given['theme'] : 'auto',
		);
	}

	/**
	 * Of a chat's attributes, what the server acts on.
	 *
	 * @param array<string, mixed> $chat Normal attributes.
	 * @return array<string, mixed>
	 */
	public static function what_counts( array $chat ) {
		return array( 'model' => $chat['model'], 'system_prompt' => $chat['system_prompt'], 'max_tokens' => $chat['max_tokens'] );
	}

	/**
	 * The same for what an editor typed and for what WordPress made of it.
	 *
	 * @param array<string, mixed> $what What the server acts on.
	 * @return array<string, mixed>
	 */
	public static function plain( array $what ) {
		$typographic = html_entity_decode( wp_strip_all_tags( wptexturize( $what['system_prompt'] ) ), ENT_QUOTES, 'UTF-8' );
		return array_merge( $what, array( 'system_prompt' => preg_replace( '/\s+/u', ' ', $typographic ) ) );
	}
}
