<?php
/**
 * An answer that is sent while it is made.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * A response whose body is a function.
 */
final class Stream_Response extends \WP_REST_Response {

	/**
	 * Sends the body; an error is sent in its place.
	 *
	 * @var callable
	 */
	public $run;

	/**
	 * Make one.
	 *
	 * @param callable $run Sends the body.
	 */
	public function __construct( $run ) {
		parent::__construct( null, 200, array( 'Cache-Control' => 'no-store, private' ) );
		$this->run = $run;
	}
}
