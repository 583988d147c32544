/**
 * Markdown into DOM nodes, for text that nobody has checked.
 *
 * Safe by construction: nodes are made by createElement with the names in this file, and
 * text goes into text nodes. No HTML is ever parsed, no attribute is set but the ones in
 * `link()`, no image is loaded (an image is a way to send a conversation elsewhere). What
 * is not understood is shown as it was written.
 *
 * Defines window.stagedoor.{markdown, blocks}. `blocks` cuts a text into pieces that can be
 * rendered each for itself, so that a growing answer only renders its last piece anew.
 */
( function () {
	'use strict';

	/** Deeper nesting than this is shown flat: recursion is bounded. */
	const DEPTH_MAX = 6;

	const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})/;
	const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
	const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
	const QUOTE = /^ {0,3}> ?(.*)$/;
	const BULLET = /^( {0,3})([-*+])( +)(.*)$/;
	const NUMBER = /^( {0,3})(\d{1,9})[.)]( +)(.*)$/;
	const TABLE_RULE = /^\|?:?-+:?(\|:?-+:?)*\|?$/; // Of a line without spaces.

	function element( name, children ) {
		const node = document.createElement( name );
		for ( const child of children || [] ) {
			node.appendChild( child );
		}
		return node;
	}

	const words = ( text ) => document.createTextNode( text );

	/** Links lead to pages and mail only, and take nothing along. */
	function link( label, target ) {
		let url;
		try {
			url = new URL( target );
		} catch ( error ) {
			return null;
		}
		if ( ! [ 'http:', 'https:', 'mailto:' ].includes( url.protocol ) ) {
			return null;
		}
		const node = element( 'a', label );
		node.href = url.href;
		node.rel = 'nofollow noopener noreferrer ugc';
		node.target = '_blank';
		return node;
	}

	const ESCAPABLE = '\\`*_{}[]()#+-.!|>~';

	/** Inline text: code, strong, emphasis, strike-through, links. */
	function inline( text, depth ) {
		const nodes = [];
		let plain = '';
		let at = 0;
		const push = ( node ) => {
			if ( plain ) {
				nodes.push( words( plain ) );
				plain = '';
			}
			nodes.push( node );
		};
		while ( at < text.length ) {
			const char = text[ at ];
			let found = null;
			if ( char === '\\' && at + 1 < text.length && ESCAPABLE.includes( text[ at + 1 ] ) ) {
				plain += text[ at + 1 ];
				at += 2;
				continue;
			}
			if ( char === '\n' ) {
				push( element( 'br' ) );
				at += 1;
				continue;
			}
			if ( depth < DEPTH_MAX ) {
				if ( char === '`' ) {
					found = code( text, at );
				} else if ( char === '*' || char === '_' || char === '~' ) {
					found = marked( text, at, depth );
				} else if ( char === '[' || ( char === '!' && text[ at + 1 ] === '[' ) ) {
					found = bracket( text, at, depth );
				} else if ( char === '<' ) {
					found = angle( text, at );
				} else if ( char === 'h' && ( at === 0 || /[\s(]/.test( text[ at - 1 ] ) ) ) {
					found = bare( text, at );
				}
			}
			if ( found ) {
				push( found.node );
				at = found.end;
			} else {
				plain += char;
				at += 1;
			}
		}
		if ( plain ) {
			nodes.push( words( plain ) );
		}
		return nodes;
	}

	function code( text, at ) {
		const ticks = /^`+/.exec( text.slice( at, at + 16 ) )[ 0 ];
		const end = text.indexOf( ticks, at + ticks.length );
		if ( end < 0 ) {
			return null;
		}
		const inner = text.slice( at + ticks.length, end );
		return { node: element( 'code', [ words( inner.trim() || inner ) ] ), end: end + ticks.length };
	}

	const MARKS = [
		[ '***', 'strong', 'em' ],
		[ '**', 'strong' ],
		[ '__', 'strong' ],
		[ '~~', 'del' ],
		[ '*', 'em' ],
		[ '_', 'em' ],
	];

	function marked( text, at, depth ) {
		for ( const [ mark, name, inside ] of MARKS ) {
			if ( ! text.startsWith( mark, at ) ) {
				continue;
			}
			const from = at + mark.length;
			const isWord = mark[ 0 ] === '_' && at > 0 && /[\p{L}\p{N}]/u.test( text[ at - 1 ] );
			const end = text.indexOf( mark, from + 1 );
			if ( isWord || end < 0 || /\s/.test( text[ from ] || ' ' ) || /\s/.test( text[ end - 1 ] ) ) {
				continue;
			}
			if ( mark.length === 1 && text[ end + 1 ] === mark && text[ end - 1 ] !== mark ) {
				continue; // The beginning of a longer mark.
			}
			const children = inline( text.slice( from, end ), depth + 1 );
			return { node: element( name, inside ? [ element( inside, children ) ] : children ), end: end + mark.length };
		}
		return null;
	}

	function bracket( text, at, depth ) {
		const isImage = text[ at ] === '!';
		const match = /^!?\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(\s*<?([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?:\s+"[^"]*")?\s*\)/.exec( text.slice( at, at + 4096 ) );
		if ( ! match ) {
			return null;
		}
		const label = match[ 1 ] ? inline( match[ 1 ], isImage ? DEPTH_MAX : depth + 1 ) : [ words( match[ 2 ] ) ];
		const node = link( label, match[ 2 ] );
		return node ? { node, end: at + match[ 0 ].length } : null;
	}

	function angle( text, at ) {
		const match = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/.exec( text.slice( at, at + 2048 ) );
		const node = match ? link( [ words( match[ 1 ] ) ], match[ 1 ] ) : null;
		return node ? { node, end: at + match[ 0 ].length } : null;
	}

	function bare( text, at ) {
		const match = /^https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}*_~]/.exec( text.slice( at, at + 2048 ) );
		const node = match ? link( [ words( match[ 0 ] ) ], match[ 0 ] ) : null;
		return node ? { node, end: at + match[ 0 ].length } : null;
	}

	/** Lines of one item or quote, without what marks them. */
	function parse( lines, depth ) {
		const nodes = [];
		let at = 0;
		while ( at < lines.length ) {
			const line = lines[ at ];
			if ( line.trim() === '' ) {
				at += 1;
				continue;
			}
			const taken = depth < DEPTH_MAX && ( fence( lines, at ) || heading( lines, at, depth ) || rule( lines, at ) || quote( lines, at, depth ) || list( lines, at, depth ) || table( lines, at, depth ) );
			if ( taken ) {
				nodes.push( taken.node );
				at = taken.end;
				continue;
			}
			const from = at;
			at += 1;
			while ( at < lines.length && lines[ at ].trim() !== '' && ! begins( lines[ at ] ) && ! ( lines[ at ].includes( '|' ) && isTableRule( lines[ at + 1 ] ) ) ) {
				at += 1;
			}
			nodes.push( element( 'p', inline( lines.slice( from, at ).join( '\n' ).trim(), depth ) ) );
		}
		return nodes;
	}

	/** Whether a line begins something that is no paragraph. */
	function begins( line ) {
		return FENCE.test( line ) || HEADING.test( line ) || RULE.test( line ) || QUOTE.test( line ) || BULLET.test( line ) || NUMBER.test( line );
	}

	function fence( lines, at ) {
		const open = FENCE.exec( lines[ at ] );
		if ( ! open ) {
			return null;
		}
		let end = at + 1;
		while ( end < lines.length && ! closes( lines[ end ], open[ 1 ] ) ) {
			end += 1;
		}
		const pre = element( 'pre', [ element( 'code', [ words( lines.slice( at + 1, end ).join( '\n' ) ) ] ) ] );
		return { node: pre, end: end + 1 };
	}

	function closes( line, mark ) {
		const text = line.trim();
		return text.length >= mark.length && text === mark[ 0 ].repeat( text.length );
	}

	function heading( lines, at, depth ) {
		const match = HEADING.exec( lines[ at ] );
		if ( ! match ) {
			return null;
		}
		// Below the page's own headings, however loud the answer is.
		const level = Math.min( 6, match[ 1 ].length + 3 );
		// No pattern takes the closing marks away: on a line of spaces it would take minutes.
		return { node: element( 'h' + level, inline( withoutEnd( match[ 2 ].trimEnd() ), depth ) ), end: at + 1 };
	}

	/** Without the marks that may close a heading. */
	function withoutEnd( text ) {
		let end = text.length;
		while ( end > 0 && text[ end - 1 ] === '#' ) {
			end -= 1;
		}
		return end === 0 || /\s/.test( text[ end - 1 ] ) ? text.slice( 0, end ).trimEnd() : text;
	}

	/** Whether a line stands between a table's head and its rows. */
	const isTableRule = ( line ) => line !== undefined && line.includes( '-' ) && TABLE_RULE.test( line.replace( /\s/g, '' ) );

	function rule( lines, at ) {
		return RULE.test( lines[ at ] ) ? { node: element( 'hr' ), end: at + 1 } : null;
	}

	function quote( lines, at, depth ) {
		if ( ! QUOTE.test( lines[ at ] ) ) {
			return null;
		}
		const inner = [];
		let end = at;
		while ( end < lines.length && QUOTE.test( lines[ end ] ) ) {
			inner.push( QUOTE.exec( lines[ end ] )[ 1 ] );
			end += 1;
		}
		return { node: element( 'blockquote', parse( inner, depth + 1 ) ), end };
	}

	function list( lines, at, depth ) {
		const first = BULLET.exec( lines[ at ] ) || NUMBER.exec( lines[ at ] );
		if ( ! first ) {
			return null;
		}
		const isNumbered = /\d/.test( first[ 2 ] );
		const pattern = isNumbered ? NUMBER : BULLET;
		const node = element( isNumbered ? 'ol' : 'ul' );
		if ( isNumbered && Number( first[ 2 ] ) !== 1 ) {
			node.start = Number( first[ 2 ] );
		}
		let end = at;
		let match;
		while ( end < lines.length && ( match = pattern.exec( lines[ end ] ) ) ) {
			const indent = match[ 1 ].length + match[ 2 ].length + ( isNumbered ? 1 : 0 ) + Math.min( match[ 3 ].length, 4 );
			const inner = [ match[ 4 ] ];
			end += 1;
			while ( end < lines.length ) {
				const line = lines[ end ];
				const isDeeper = /^\s/.test( line ) && line.length - line.trimStart().length >= Math.min( indent, 2 );
				if ( line.trim() === '' ) {
					const next = lines[ end + 1 ] || '';
					if ( ! ( /^\s{2,}\S/.test( next ) || pattern.test( next ) ) ) {
						break;
					}
					inner.push( '' );
				} else if ( isDeeper ) {
					inner.push( line.replace( new RegExp( '^\\s{1,' + indent + '}' ), '' ) );
				} else if ( ! begins( line ) && inner[ inner.length - 1 ] !== '' ) {
					inner.push( line );
				} else {
					break;
				}
				end += 1;
			}
			const children = parse( inner, depth + 1 );
			// A tight item is its text, not a paragraph.
			const isTight = children.length > 0 && children[ 0 ].nodeName === 'P' && ! inner.includes( '' );
			node.appendChild( element( 'li', isTight ? [ ...children[ 0 ].childNodes, ...children.slice( 1 ) ] : children ) );
		}
		return { node, end };
	}

	const cells = ( line ) =>
		line
			.trim()
			.replace( /^\||\|$/g, '' )
			.replace( /\\\|/g, '\uE000' ) // A bar that is text; no private character is.
			.split( '|' )
			.map( ( cell ) => cell.replace( /\uE000/g, '|' ).trim() );

	function table( lines, at, depth ) {
		if ( ! lines[ at ].includes( '|' ) || ! isTableRule( lines[ at + 1 ] ) ) {
			return null;
		}
		const head = cells( lines[ at ] );
		const row = ( name, texts ) => element( 'tr', head.map( ( _, index ) => element( name, inline( texts[ index ] || '', depth + 1 ) ) ) );
		const body = element( 'tbody' );
		let end = at + 2;
		while ( end < lines.length && lines[ end ].includes( '|' ) ) {
			body.appendChild( row( 'td', cells( lines[ end ] ) ) );
			end += 1;
		}
		const node = element( 'table', [ element( 'thead', [ row( 'th', head ) ] ), body ] );
		const frame = element( 'div', [ node ] );
		frame.className = 'stagedoor-chat__table';
		return { node: frame, end };
	}

	/** Cut a text at empty lines outside of code, where nothing goes on below. */
	function blocks( text ) {
		const pieces = [];
		let open = '';
		let piece = [];
		const lines = text.split( '\n' );
		lines.forEach( ( line, index ) => {
			piece.push( line );
			if ( open ) {
				if ( closes( line, open ) ) {
					open = '';
				}
				return;
			}
			const match = FENCE.exec( line );
			if ( match ) {
				open = match[ 1 ];
				return;
			}
			const next = lines[ index + 1 ];
			const goesOn = next !== undefined && ( /^\s+\S/.test( next ) || next.trim() === '' || BULLET.test( next ) || NUMBER.test( next ) );
			if ( line.trim() === '' && next !== undefined && ! goesOn ) {
				pieces.push( piece.join( '\n' ) );
				piece = [];
			}
		} );
		if ( piece.length ) {
			pieces.push( piece.join( '\n' ) );
		}
		return pieces;
	}

	/**
	 * Render.
	 *
	 * @param {string} text Markdown.
	 * @return {DocumentFragment} Nodes.
	 */
	function markdown( text ) {
		const fragment = document.createDocumentFragment();
		for ( const node of parse( text.replace( /\r\n?/g, '\n' ).replace( /\t/g, '    ' ).split( '\n' ), 0 ) ) {
			fragment.appendChild( node );
		}
		return fragment;
	}

	window.stagedoor = Object.assign( window.stagedoor || {}, { markdown, blocks } );
} )();
