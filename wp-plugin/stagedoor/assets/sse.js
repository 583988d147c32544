/**
 * Reads answers: server-sent events of chat completions, however they were cut up, and what
 * they say. Talks to nobody.
 *
 * Defines window.stagedoor.{SseReader, Answer, wellFormed}.
 */
( function () {
	'use strict';

	/** A line this long is no delta of a text. */
	const LINE_CHARS_MAX = 1024 * 1024;

	/** Without halves of characters: JSON that holds one is JSON that PHP does not read. */
	const wellFormed = ( text ) => text.replace( /[\uD800-\uDBFF][\uDC00-\uDFFF]|[\uD800-\uDFFF]/g, ( found ) => ( found.length === 2 ? found : '' ) );

	/** Server-sent events of chat completions, however they were cut up. */
	class SseReader {
		constructor( onEvent ) {
			this.onEvent = onEvent;
			this.rest = '';
			this.data = [];
			this.lastId = '';
			this.newId = '';
		}

		feed( text ) {
			const buffer = this.rest + text;
			const ends = /\r\n|\n|\r(?!$)/g;
			let start = 0;
			let match;
			while ( ( match = ends.exec( buffer ) ) ) {
				this.line( buffer.slice( start, match.index ) );
				start = ends.lastIndex;
			}
			this.rest = buffer.slice( start );
			if ( this.rest.length > LINE_CHARS_MAX ) {
				this.rest = '';
			}
		}

		end() {
			if ( this.rest.endsWith( '\r' ) ) {
				this.line( this.rest.slice( 0, -1 ) ); // No half of a CRLF after all.
			}
			this.rest = '';
			this.data = []; // An unfinished frame is no event.
			this.newId = this.lastId;
		}

		line( line ) {
			if ( line === '' ) {
				this.lastId = this.newId;
				if ( this.data.length ) {
					const data = this.data.join( '\n' );
					this.data = [];
					this.onEvent( data );
				}
			} else if ( line.startsWith( 'data:' ) ) {
				this.data.push( line.slice( line[ 5 ] === ' ' ? 6 : 5 ) );
			} else if ( line.startsWith( 'id:' ) ) {
				this.newId = line.slice( 3 ).trim();
			}
		}
	}

	/** What has come of an answer. */
	class Answer {
		constructor( onDelta ) {
			this.onDelta = onDelta;
			this.text = '';
			this.finish = '';
			this.usage = null;
			this.error = null;
			this.done = false;
			this.reader = new SseReader( ( data ) => this.event( data ) );
		}

		event( data ) {
			if ( data === '[DONE]' ) {
				this.done = true;
				return;
			}
			let json;
			try {
				json = JSON.parse( data );
			} catch ( error ) {
				return; // Not ours to judge; the end tells whether the answer is whole.
			}
			this.take( json );
		}

		take( json ) {
			if ( ! json || typeof json !== 'object' ) {
				return;
			}
			if ( json.error ) {
				this.error = json.error;
			}
			if ( json.usage ) {
				this.usage = json.usage;
			}
			const choice = Array.isArray( json.choices ) && json.choices[ 0 ] ? json.choices[ 0 ] : {};
			const piece = choice.delta || choice.message || {};
			if ( typeof piece.content === 'string' && piece.content !== '' ) {
				this.text += piece.content;
				this.onDelta( piece.content, this.text );
			}
			if ( typeof choice.finish_reason === 'string' ) {
				this.finish = choice.finish_reason;
			}
		}
	}

	window.stagedoor = Object.assign( window.stagedoor || {}, { SseReader, Answer, wellFormed } );
} )();
