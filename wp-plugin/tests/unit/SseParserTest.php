<?php

namespace Stagedoor\Tests\Unit;

use Stagedoor\Sse_Parser;
use Stagedoor\Tests\TestCase;

final class SseParserTest extends TestCase {

	const STREAM = "\u{feff}: hello\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Gr\u{fc}\"}}]}\n\nevent: x\ndata:{\"choices\":[{\"delta\":{\"content\":\"\u{df} \u{1f600}\"}}]}\r\rdata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

	/**
	 * However a stream is cut up, it says the same.
	 */
	public function test_every_cut_reads_the_same() {
		$length = strlen( self::STREAM );
		for ( $size = 1; $size <= 40; $size++ ) {
			$parser = new Sse_Parser();
			foreach ( str_split( self::STREAM, $size ) as $piece ) {
				$parser->feed( $piece );
			}
			$parser->end();
			$this->assertSame( "Gr\u{fc}\u{df} \u{1f600}", $parser->text, "pieces of {$size} of {$length}" );
			$this->assertSame( 'stop', $parser->finish );
			$this->assertSame( array( 'completion_tokens' => 2 ), $parser->usage );
			$this->assertTrue( $parser->done );
		}
	}

	public function test_an_unfinished_frame_is_no_event() {
		$parser = new Sse_Parser();
		$parser->feed( "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n" );
		$parser->end();
		$this->assertSame( 'a', $parser->text );
		$this->assertFalse( $parser->done );
	}

	public function test_an_error_event_is_kept() {
		$parser = new Sse_Parser();
		$parser->feed( "data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\n" );
		$this->assertSame( array( 'error' => array( 'code' => 'insufficient_quota' ) ), $parser->error );
	}

	public function test_nonsense_is_passed_over() {
		$parser = new Sse_Parser();
		$parser->feed( "data: {nonsense\n\ndata: 7\n\ndata: {\"choices\":7}\n\ndata: {\"choices\":[{\"delta\":{\"content\":[1]}}]}\n\ndata: null\n\n" );
		$this->assertSame( '', $parser->text );
	}

	public function test_a_line_without_end_takes_no_more_than_its_bound() {
		$parser = new Sse_Parser();
		for ( $i = 0; $i < 40; $i++ ) {
			$parser->feed( str_repeat( 'x', 65536 ) );
		}
		$parser->feed( "\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"after\"}}]}\n\n" );
		$this->assertSame( 'after', $parser->text );
	}
}
