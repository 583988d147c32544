<?php
/**
 * Plugin Name: Stagedoor example
 * Description: Shows each of Stagedoor's hooks at work. docs/wordpress.md explains them.
 * License: GPL-2.0-or-later
 */

// The assistant knows which page it is on.
add_filter(
	'stagedoor_system_prompt',
	function ( $prompt, $context ) {
		return $context['post_id'] ? $prompt . "\nThe visitor reads: " . get_the_title( $context['post_id'] ) : $prompt;
	},
	10,
	2
);

// Answers are a little freer than the model's default.
add_filter(
	'stagedoor_request_body',
	function ( $body ) {
		return array_merge( $body, array( 'temperature' => 0.9 ) );
	}
);

// Nobody asks on a page that is called "Closed".
add_filter(
	'stagedoor_can_chat',
	function ( $can, $context ) {
		if ( $context['post_id'] && 'Closed' === get_the_title( $context['post_id'] ) ) {
			return new WP_Error( 'closed', 'The box office is closed.', array( 'status' => 403, 'kind' => 'forbidden' ) );
		}
		return $can;
	},
	10,
	2
);

// Users who are logged in have no limit of their own.
add_filter(
	'stagedoor_rate_limit',
	function ( $limit, $of ) {
		return 'user' === $of ? array( 'max' => 0 ) + $limit : $limit;
	},
	10,
	2
);

// Relayed frames only: what a model says of another house is not shown.
add_filter(
	'stagedoor_sse_frame',
	function ( $frame ) {
		return str_replace( 'Rival House', 'another house', $frame );
	}
);

// A frame around the chat.
add_filter(
	'stagedoor_chat_html',
	function ( $html ) {
		return '<div class="example-frame">' . $html . '</div>';
	}
);

// A diary of answers.
add_action(
	'stagedoor_stream_finished',
	function ( $result ) {
		$diary   = (array) get_option( 'example_diary', array() );
		$diary[] = $result['status'] . ' ' . $result['transport'] . ' ' . $result['source'] . ' ' . $result['tokens_out'];
		update_option( 'example_diary', array_slice( $diary, -100 ), false );
	}
);

// And in the browser.
add_action(
	'wp_enqueue_scripts',
	function () {
		wp_enqueue_script( 'stagedoor-example', plugins_url( 'example.js', __FILE__ ), array( 'wp-hooks' ), '1', true );
	}
);
