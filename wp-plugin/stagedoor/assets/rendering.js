/**
 * Shows a growing text: which nodes, and how often. What a model writes becomes text nodes,
 * or nodes that markdown.js or an add-on made; never HTML.
 *
 * Add-ons hang on `wp.hooks`, and may be wrong: a filter that throws has no say, an action
 * that throws has been told. Either is reported where scripts' errors are, and the answer
 * goes on.
 *
 * Defines window.stagedoor.{Rendering, Painter, filtered, told}.
 */
( function () {
	'use strict';

	const { applyFilters, doAction } = window.wp.hooks;
	const { markdown, blocks } = window.stagedoor;

	/** Of the time, a painting may take one part in this many: a page stays quick beside a long list. */
	const REST_TIMES = 4;

	const complain = ( error ) =>
		setTimeout( () => {
			throw error;
		} );

	/** `applyFilters`, or the value as it was. */
	function filtered( name, value, ...more ) {
		try {
			return applyFilters( name, value, ...more );
		} catch ( error ) {
			complain( error );
			return value;
		}
	}

	/** `doAction`, whoever listens. */
	function told( name, detail ) {
		try {
			doAction( name, detail );
		} catch ( error ) {
			complain( error );
		}
	}

	/** A surrogate whose other half comes with the next piece is not shown yet. */
	const whole = ( text ) => ( /[\uD800-\uDBFF]$/.test( text ) ? text.slice( 0, -1 ) : text );

	/** Shows a growing text: pieces that are complete are not touched again. */
	class Rendering {
		constructor( element, format ) {
			this.element = element;
			this.format = format;
			this.pieces = [];
			this.words = null;
		}

		show( text, context ) {
			const shown = whole( text );
			const node = filtered( 'stagedoor.renderPartial', null, shown, context );
			if ( node instanceof Node && ! node.contains( this.element ) ) {
				this.pieces = [];
				this.words = null;
				this.element.replaceChildren( node );
			} else if ( this.format === 'text' ) {
				this.plain( shown );
			} else {
				this.pieceByPiece( shown );
			}
		}

		plain( text ) {
			if ( ! this.words ) {
				this.words = document.createTextNode( '' );
				this.element.replaceChildren( this.words );
			}
			if ( text.startsWith( this.words.data ) ) {
				this.words.appendData( text.slice( this.words.data.length ) );
			} else {
				this.words.data = text;
			}
		}

		pieceByPiece( text ) {
			const pieces = blocks( text );
			let same = 0;
			while ( same < pieces.length && same < this.pieces.length && this.pieces[ same ].text === pieces[ same ] ) {
				same += 1;
			}
			for ( const old of this.pieces.splice( same ) ) {
				old.nodes.forEach( ( node ) => node.remove() );
			}
			if ( same === 0 ) {
				this.element.replaceChildren();
			}
			for ( const piece of pieces.slice( same ) ) {
				const nodes = Array.from( markdown( piece ).childNodes );
				this.element.append( ...nodes );
				this.pieces.push( { text: piece, nodes } );
			}
		}
	}

	/**
	 * Calls `paint` for what has changed: at most once a frame, and less often where a text
	 * takes long to paint. A tab that nobody sees is painted when it is seen again, or when
	 * the answer is complete.
	 */
	class Painter {
		constructor( paint ) {
			this.paint = paint;
			this.frame = 0;
			this.timer = 0;
			this.rests = 0;
		}

		soon() {
			if ( this.frame || this.timer ) {
				return;
			}
			const wait = this.rests - performance.now();
			if ( wait > 0 ) {
				this.timer = setTimeout( () => {
					this.timer = 0;
					this.next();
				}, wait );
			} else {
				this.next();
			}
		}

		next() {
			this.frame = requestAnimationFrame( () => {
				this.frame = 0;
				this.now();
			} );
		}

		now() {
			const began = performance.now();
			this.paint();
			const ended = performance.now();
			this.rests = ended + REST_TIMES * ( ended - began );
		}

		/** Nothing more comes. */
		end() {
			cancelAnimationFrame( this.frame );
			clearTimeout( this.timer );
			this.frame = this.timer = 0;
		}
	}

	window.stagedoor = Object.assign( window.stagedoor, { Rendering, Painter, filtered, told } );
} )();
