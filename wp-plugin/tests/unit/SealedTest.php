<?php

namespace Stagedoor\Tests\Unit;

use Stagedoor\Sealed;
use Stagedoor\Tests\TestCase;

final class SealedTest extends TestCase {

	public function test_what_was_sealed_opens_for_its_purpose_only() {
		$sealed = Sealed::seal( 'chat', array( 'prompt' => 'secret words' ) );
		$this->assertSame( array( 'prompt' => 'secret words' ), Sealed::open( 'chat', $sealed ) );
		$this->assertNull( Sealed::open( 'ticket', $sealed ) );
		$this->assertStringNotContainsString( 'secret', base64_decode( strtr( $sealed, '-_', '+/' ) ) );
	}

	/**
	 * The longest prompt, in letters that JSON could write six bytes long.
	 */
	public function test_the_longest_prompt_opens_again_in_every_script() {
		foreach ( array( 'a', 'ж', '語', '😀', "\n" ) as $letter ) {
			$prompt = str_repeat( $letter, 20000 );
			$this->assertSame( $prompt, Sealed::open( 'chat', Sealed::seal( 'chat', $prompt ) ), $letter );
		}
	}

	public function test_the_same_value_is_the_same_bytes_so_that_pages_can_be_cached() {
		$this->assertSame( Sealed::seal( 'chat', array( 1 ) ), Sealed::seal( 'chat', array( 1 ) ) );
		$this->assertNotSame( Sealed::seal( 'chat', array( 1 ) ), Sealed::seal( 'chat', array( 2 ) ) );
	}

	public function test_no_changed_byte_and_no_cut_is_accepted() {
		$sealed = Sealed::seal( 'chat', array( 'model' => 'a' ) );
		for ( $at = 0; $at < strlen( $sealed ); $at++ ) {
			$changed        = $sealed;
			$changed[ $at ] = 'A' === $sealed[ $at ] ? 'B' : 'A';
			// The last character's unused bits may say the same bytes again.
			$this->assertContains( Sealed::open( 'chat', $changed ), array( null, array( 'model' => 'a' ) ) );
			if ( $at < strlen( $sealed ) - 1 ) {
				$this->assertNull( Sealed::open( 'chat', $changed ), "changed at {$at}" );
			}
			$this->assertNull( Sealed::open( 'chat', substr( $sealed, 0, $at ) ), "cut at {$at}" );
		}
	}

	/**
	 * @dataProvider nonsense
	 */
	public function test_nonsense_opens_nothing( $given ) {
		$this->assertNull( Sealed::open( 'chat', $given ) );
	}

	public static function nonsense() {
		return array( array( null ), array( 7 ), array( array() ), array( '' ), array( 'x y' ), array( str_repeat( 'A', 200000 ) ), array( "AAAA\n" ) );
	}
}
