<?php
/**
 * `wp stagedoor …`.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * Ask the gateway, and look how it is reached.
 */
final class Cli {

	/**
	 * Tells whether the gateway answers, and how answers travel.
	 *
	 * ## OPTIONS
	 *
	 * [--format=<format>]
	 * : table, json or yaml.
	 * ---
	 * default: table
	 * ---
	 *
	 * ## EXAMPLES
	 *
	 *     wp stagedoor status
	 *
	 * @param string[]              $args    None.
	 * @param array<string, string> $options As typed.
	 * @return void
	 */
	public function status( $args, $options ) {
		$models  = Client::models( true );
		$verdict = Verdict::found();
		$rows    = array(
			'version' => VERSION,
			'gateway' => Settings::base_url(),
			'key'     => Settings::key_source(),
			'model'   => (string) Settings::get( 'model' ),
			'answers' => is_wp_error( $models ) ? 'no: ' . $models->get_error_code() : 'yes',
			'models'  => is_wp_error( $models ) ? 0 : count( $models ),
			'order'   => implode( ', ', Verdict::order() ),
			'relay'   => '' !== $verdict['relay'] ? $verdict['relay'] : 'not tested',
			'direct'  => '' !== $verdict['direct'] ? $verdict['direct'] : 'not tested',
		);
		$lines   = array();
		foreach ( $rows as $name => $value ) {
			$lines[] = array( 'field' => $name, 'value' => $value );
		}
		$format = isset( $options['format'] ) ? $options['format'] : 'table';
		if ( 'json' === $format ) {
			\WP_CLI::line( (string) wp_json_encode( $rows ) );
		} else {
			\WP_CLI\Utils\format_items( $format, $lines, array( 'field', 'value' ) );
		}
		if ( is_wp_error( $models ) ) {
			\WP_CLI::error( $models->get_error_message() );
		}
	}

	/**
	 * Lists the models that this site may use.
	 *
	 * ## OPTIONS
	 *
	 * [--format=<format>]
	 * : table, json, csv or yaml.
	 * ---
	 * default: table
	 * ---
	 *
	 * @param string[]              $args    None.
	 * @param array<string, string> $options As typed.
	 * @return void
	 */
	public function models( $args, $options ) {
		$models = Client::models( true );
		if ( is_wp_error( $models ) ) {
			\WP_CLI::error( self::why( $models ) );
		}
		$rows = array();
		foreach ( $models as $model ) {
			$rows[] = array( 'model' => $model, 'default' => Settings::get( 'model' ) === $model ? 'yes' : '' );
		}
		\WP_CLI\Utils\format_items( isset( $options['format'] ) ? $options['format'] : 'table', $rows, array( 'model', 'default' ) );
	}

	/**
	 * Asks one question and prints the answer while it comes.
	 *
	 * ## OPTIONS
	 *
	 * <question>
	 * : What to ask.
	 *
	 * [--model=<model>]
	 * : Another model than the site's default.
	 *
	 * [--[no-]stream]
	 * : Print the answer while it comes, or when it is complete.
	 *
	 * ## EXAMPLES
	 *
	 *     wp stagedoor chat "What is a stage door?"
	 *
	 * @param string[]              $args    The question.
	 * @param array<string, string> $options As typed.
	 * @return void
	 */
	public function chat( $args, $options ) {
		if ( ! Settings::is_ready() ) {
			\WP_CLI::error( 'The gateway’s address or this site’s key is missing: see Settings → Stagedoor.' );
		}
		$what     = array( 'model' => isset( $options['model'] ) ? $options['model'] : '', 'system_prompt' => '', 'max_tokens' => 0 );
		$question = new Question( wp_generate_uuid4(), 'cli', Chat::with_defaults( $what, 0 ), array( array( 'role' => 'user', 'content' => $args[0] ) ) );
		if ( isset( $options['stream'] ) && false === $options['stream'] ) {
			$answer = Client::complete( $question );
			if ( is_wp_error( $answer ) ) {
				\WP_CLI::error( self::why( $answer ) );
			}
			\WP_CLI::line( $answer['text'] );
			return;
		}
		$error = Sse_Relay::pull(
			$question,
			static function ( $delta ) {
				fwrite( STDOUT, $delta ); // phpcs:ignore -- A terminal, not a file.
			}
		);
		fwrite( STDOUT, "\n" ); // phpcs:ignore -- A terminal, not a file.
		if ( is_wp_error( $error ) ) {
			\WP_CLI::error( self::why( $error ) );
		}
	}

	/**
	 * Measures whether pieces that this server sends arrive one by one.
	 *
	 * @subcommand test-stream
	 *
	 * @return void
	 */
	public function test_stream() {
		$times = Sse_Relay::measure( Verdict::probe_url() );
		if ( is_wp_error( $times ) ) {
			\WP_CLI::error( $times->get_error_message() );
		}
		$judged = Verdict::judge( $times );
		Verdict::keep( $judged );
		foreach ( $times as $number => $time ) {
			\WP_CLI::line( sprintf( 'piece %d after %d ms', $number + 1, $time ) );
		}
		if ( 'ok' === $judged['relay'] ) {
			\WP_CLI::success( sprintf( 'Pieces arrive one by one, %d ms apart.', $judged['gap_ms'] ) );
		} else {
			\WP_CLI::warning( 'Pieces arrive together: something between PHP and the client collects them.' );
		}
	}

	/**
	 * The reason of a failure, for somebody at a terminal of the server.
	 *
	 * @param \WP_Error $error The failure.
	 * @return string
	 */
	private static function why( \WP_Error $error ) {
		$data = (array) $error->get_error_data();
		return isset( $data['reason'] ) ? $data['reason'] : $error->get_error_message() . ' (' . $error->get_error_code() . ')';
	}
}
