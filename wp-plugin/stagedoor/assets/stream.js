/**
 * One question, one answer: asks by the first transport that works, and reads what comes.
 *
 * The rule above all others: a question is generated once. A transport is left for the
 * next one only while nothing can have been generated, or with a ticket by which the
 * server knows what was.
 *
 * Defines window.stagedoor.{ask, SseReader, Session, Failure}. Used by the chat, by the
 * editor's actions and by the settings screen.
 */
( function () {
	'use strict';

	const { __ } = window.wp.i18n;

	/** How long a transport that failed is not tried again, in this tab. */
	const REMEMBER_MS = 10 * 60 * 1000;
	/** How long the gateway may take to show that it can be reached. */
	const PROBE_MS = 3000;
	/** How often a busy server is asked again: most answers are done within a minute. */
	const AGAIN_MAX = 60;
	/** How often an answer that broke off is picked up again, where the gateway keeps it. */
	const PICK_UP_MAX = 5;
	/** A line this long is no delta of a text. */
	const LINE_CHARS_MAX = 1024 * 1024;

	/** Why there is no answer, or no whole one. `kind` is for code, `message` for people. */
	class Failure extends Error {
		constructor( kind, message, more ) {
			super( message );
			this.name = 'StagedoorFailure';
			this.kind = kind;
			Object.assign( this, more );
		}
	}

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

	const isAbort = ( error ) => error && error.name === 'AbortError';

	/** The gateway's codes, for answers that do not pass through PHP. */
	const KINDS = {
		insufficient_quota: 'cap',
		rate_limit_exceeded: 'busy',
		too_many_requests: 'busy',
		context_length_exceeded: 'too_long',
		content_filter: 'filtered',
		grant_used: 'started',
		grant_expired: 'expired',
		grant_unknown: 'expired',
		grant_invalid: 'expired',
		grant_revoked: 'expired',
	};

	function kindOf( error, status ) {
		const code = error && typeof error.code === 'string' ? error.code : '';
		if ( error && typeof error.kind === 'string' ) {
			return error.kind;
		}
		if ( KINDS[ code ] ) {
			return KINDS[ code ];
		}
		if ( code.startsWith( 'stagedoor_' ) ) {
			return code.slice( 'stagedoor_'.length );
		}
		return status === 429 || status === 503 ? 'busy' : 'unreachable';
	}

	/** Who is there: asked once a page, when somebody is about to ask. Pages are cached. */
	class Session {
		constructor( config ) {
			this.config = config;
			this.sentences = config.sentences || {};
			this.fixedNonce = config.nonce || null;
			this.found = null;
		}

		begin( again = false ) {
			if ( ! this.found || again ) {
				this.found = fetch( this.config.rest + 'session', {
					credentials: 'same-origin',
					cache: 'no-store',
					headers: { 'X-Stagedoor-Session': '1' },
				} )
					.then( ( response ) => ( response.ok ? response.json() : {} ) )
					.catch( () => ( {} ) );
			}
			return this.found;
		}

		async headers( again = false ) {
			const headers = { 'Content-Type': 'application/json' };
			const nonce = this.fixedNonce && ! again ? this.fixedNonce : ( await this.begin( again ) ).nonce;
			if ( nonce ) {
				headers[ 'X-WP-Nonce' ] = nonce;
			}
			return headers;
		}

		/** POST to one of our routes. A nonce that is too old is renewed, once. */
		async post( route, body, { signal, accept } = {} ) {
			for ( let again = false; ; again = true ) {
				const headers = await this.headers( again );
				if ( accept ) {
					headers.Accept = accept;
				}
				const response = await fetch( this.config.rest + route, {
					method: 'POST',
					credentials: 'same-origin',
					cache: 'no-store',
					headers,
					body: JSON.stringify( body ),
					signal,
				} );
				if ( response.status === 403 && ! again && headers[ 'X-WP-Nonce' ] ) {
					const copy = await response.clone().json().catch( () => ( {} ) );
					if ( copy.code === 'rest_cookie_invalid_nonce' ) {
						this.fixedNonce = null;
						continue;
					}
				}
				return response;
			}
		}

		failure( kind, more ) {
			const message = this.sentences[ kind ] || this.sentences.unreachable || __( 'The assistant is not available right now. Please try again later.', 'stagedoor' );
			return new Failure( kind, message, more );
		}

		/** An answer of one of our routes, or of the gateway, that is no answer. */
		async refusal( response ) {
			const json = await response.json().catch( () => null );
			const data = ( json && json.data ) || {};
			const error = json && json.error ? json.error : null;
			const kind = data.kind || kindOf( error || json, response.status );
			const failure = this.failure( kind, {
				status: response.status,
				reason: data.reason || '',
				retryAfterS: data.retry_after_s || Number( response.headers.get( 'retry-after' ) ) || 0,
				again: !! data.again,
				spoken: json !== null,
			} );
			if ( json && typeof json.message === 'string' && json.message && data.kind ) {
				failure.message = json.message; // Our own routes speak the visitor's language.
			}
			return failure;
		}
	}

	/** What did not work in this tab, so that not every question tries it again. */
	const memory = {
		key( config, transport ) {
			return 'stagedoor:' + config.rest + ':' + transport;
		},
		isOut( config, transport ) {
			try {
				return Number( sessionStorage.getItem( this.key( config, transport ) ) ) > Date.now();
			} catch ( error ) {
				return false; // No storage: every question tries anew.
			}
		},
		out( config, transport ) {
			try {
				sessionStorage.setItem( this.key( config, transport ), String( Date.now() + REMEMBER_MS ) );
			} catch ( error ) {
				// See above.
			}
		},
	};

	/**
	 * Whether this browser reaches the gateway at all: the page's own policy, a certificate,
	 * an address that only the server knows. Asked before a grant is at stake.
	 */
	async function reaches( config ) {
		if ( memory.isOut( config, 'direct' ) ) {
			return false;
		}
		if ( ! config.probe || config.reached ) {
			return true;
		}
		const abort = new AbortController();
		const timer = setTimeout( () => abort.abort(), PROBE_MS );
		try {
			await fetch( config.probe, { mode: 'no-cors', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer', signal: abort.signal } );
			config.reached = true;
			return true;
		} catch ( error ) {
			memory.out( config, 'direct' );
			return false;
		} finally {
			clearTimeout( timer );
		}
	}

	/**
	 * Read a grant's answer to its end. Where its events have ids, the gateway keeps them: what
	 * broke off is picked up behind the last one that came, and nothing is generated anew.
	 */
	async function readOn( url, response, run ) {
		const { answer, session, signal } = run;
		for ( let turn = 0; ; turn++ ) {
			try {
				return await read( response, answer, session );
			} catch ( error ) {
				const place = answer.reader.lastId.split( '.' ).pop();
				if ( isAbort( error ) && place ) {
					hangUp( url ); // Leaving alone does not end an answer that is kept.
				}
				if ( isAbort( error ) || error.kind !== 'cut' || answer.error || ! place || turn >= PICK_UP_MAX ) {
					throw error;
				}
				await sleep( 500 * 2 ** turn, signal );
				const rest = new URL( url );
				rest.searchParams.set( 'starting_after', place );
				const again = await pickUp( rest.href, signal );
				if ( again === null ) {
					continue; // No network yet: reading the same broken answer fails at once.
				}
				if ( ! again.ok || again.status === 204 ) {
					throw error;
				}
				response = again;
			}
		}
	}

	const pickUp = ( url, signal ) =>
		fetch( url, { mode: 'cors', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer', signal } ).catch( ( error ) => {
			if ( isAbort( error ) ) {
				throw error;
			}
			return null;
		} );

	/** Tell the gateway that nobody wants the rest. */
	function hangUp( url ) {
		const cancel = new URL( url );
		cancel.pathname += '/cancel';
		fetch( cancel.href, { method: 'POST', mode: 'cors', credentials: 'omit', keepalive: true, referrerPolicy: 'no-referrer' } ).catch( () => {} );
	}

	/** Read an answer to its end; partial text is in the failure's `text`. */
	async function read( response, answer, session ) {
		const type = ( response.headers.get( 'content-type' ) || '' ).toLowerCase();
		try {
			if ( type.includes( 'application/json' ) ) {
				answer.take( await response.json() );
				answer.done = true;
			} else if ( ! response.body || ! response.body.getReader ) {
				answer.reader.feed( await response.text() );
			} else {
				const decoder = new TextDecoder();
				const reader = response.body.getReader();
				for (;;) {
					const { done, value } = await reader.read();
					if ( done ) {
						break;
					}
					answer.reader.feed( decoder.decode( value, { stream: true } ) );
				}
				answer.reader.feed( decoder.decode() );
			}
		} catch ( error ) {
			if ( isAbort( error ) ) {
				throw error;
			}
			throw session.failure( 'cut', { started: true, reason: String( error.message || error ) } );
		}
		answer.reader.end();
		if ( answer.error ) {
			const kind = kindOf( answer.error, 0 );
			const failure = session.failure( answer.text ? 'cut' : kind, { started: true, reason: answer.error.reason || '', gatewayKind: kind } );
			if ( answer.error.kind && answer.error.message && ! answer.text ) {
				failure.message = answer.error.message;
			}
			throw failure;
		}
		if ( ! answer.done && ! answer.finish ) {
			throw session.failure( 'cut', { started: true } );
		}
	}

	/** A transport that could not be used, and did nothing: go on with the next. */
	const NEXT = Symbol( 'next' );

	const transports = {
		async direct( run ) {
			const { config, session, signal } = run;
			if ( ! ( await reaches( config ) ) ) {
				return NEXT;
			}
			const given = await session.post( 'grants', run.payload, { signal } );
			if ( given.status === 404 || given.status === 405 ) {
				return NEXT;
			}
			if ( ! given.ok ) {
				throw await session.refusal( given );
			}
			const grant = await given.json();
			run.payload.ticket = grant.ticket;
			if ( grant.transport !== 'direct' ) {
				memory.out( config, 'direct' );
				return NEXT;
			}
			run.report = grant.report;
			let response;
			try {
				response = await fetch( grant.url, { mode: 'cors', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer', redirect: 'error', signal } );
			} catch ( error ) {
				if ( isAbort( error ) ) {
					throw error;
				}
				// The server picks the same grant up. Should the gateway have begun already, it says so.
				memory.out( config, 'direct' );
				return NEXT;
			}
			if ( ! response.ok ) {
				const failure = await session.refusal( response );
				if ( ! failure.spoken || failure.status === 404 || failure.status === 405 ) {
					memory.out( config, 'direct' ); // Something before the gateway answered.
					return NEXT;
				}
				throw failure;
			}
			run.begins( 'direct' );
			return readOn( grant.url, response, run );
		},

		async relay( run ) {
			const { session, config, signal } = run;
			const response = await run.patiently( () => session.post( 'stream', run.payload, { signal, accept: 'text/event-stream' } ) );
			const type = ( response.headers.get( 'content-type' ) || '' ).toLowerCase();
			if ( response.ok && type.includes( 'text/event-stream' ) ) {
				run.begins( 'relay' );
				return read( response, run.answer, session );
			}
			if ( response.ok || response.status === 404 || response.status === 405 ) {
				// Something before PHP answered, or threw the stream away. The server knows whether it began.
				memory.out( config, 'relay' );
				return NEXT;
			}
			throw await session.refusal( response );
		},

		async buffered( run ) {
			const { session, signal } = run;
			run.waits();
			const response = await run.patiently( () => session.post( 'complete', run.payload, { signal } ) );
			if ( ! response.ok ) {
				throw await session.refusal( response );
			}
			const json = await response.json();
			run.begins( 'buffered' );
			run.answer.finish = json.finish || 'stop';
			run.answer.done = true;
			if ( json.text ) {
				run.answer.text = json.text;
				run.answer.onDelta( json.text, json.text );
			}
			return undefined;
		},
	};

	const sleep = ( ms, signal ) =>
		new Promise( ( resolve, reject ) => {
			const timer = setTimeout( resolve, ms );
			if ( signal ) {
				signal.addEventListener(
					'abort',
					() => {
						clearTimeout( timer );
						reject( new DOMException( 'stopped', 'AbortError' ) );
					},
					{ once: true }
				);
			}
		} );

	function newId() {
		const bytes = crypto.getRandomValues( new Uint8Array( 16 ) );
		return Array.from( bytes, ( byte ) => byte.toString( 16 ).padStart( 2, '0' ) ).join( '' );
	}

	/**
	 * Ask.
	 *
	 * @param {Session}     session
	 * @param {Object}      payload            What our routes take: chat and messages, or an action.
	 * @param {Object}      options
	 * @param {AbortSignal} [options.signal]   Stops; what has come stays.
	 * @param {Function}    [options.onStart]  Gets the transport, when the answer begins.
	 * @param {Function}    [options.onWait]   Nothing will come before everything has.
	 * @param {Function}    [options.onDelta]  Gets each piece, and the text so far.
	 * @return {Promise<Object>} text, finish, usage, transport, status: complete or aborted.
	 *                           Rejects with a Failure, whose `text` is what had come.
	 */
	async function ask( session, payload, { signal, onStart, onWait, onDelta } = {} ) {
		const config = session.config;
		const began = performance.now();
		let used = '';
		const run = {
			config,
			session,
			signal,
			payload: { ...payload, question: newId() },
			report: false,
			answer: new Answer( ( delta, text ) => onDelta && onDelta( delta, text ) ),
			begins( transport ) {
				used = transport;
				if ( onStart ) {
					onStart( transport );
				}
			},
			waits() {
				if ( onWait ) {
					onWait();
				}
			},
			/** A server without a free place says so before it does anything: the same again, in a moment. */
			async patiently( send ) {
				for ( let turn = 0; ; turn++ ) {
					const response = await send();
					if ( response.status !== 503 || turn >= AGAIN_MAX ) {
						return response;
					}
					const copy = await response.clone().json().catch( () => ( {} ) );
					if ( ! copy.data || ! copy.data.again ) {
						return response;
					}
					run.waits();
					await sleep( 1000 * Math.min( 5, copy.data.retry_after_s || 1 ), signal );
				}
			},
		};
		const ended = ( status, more ) => {
			const result = {
				status,
				text: run.answer.text,
				finish: run.answer.finish,
				usage: run.answer.usage,
				transport: used,
				ms: Math.round( performance.now() - began ),
				...more,
			};
			if ( used === 'direct' || ( run.payload.ticket && more && more.gatewayKind === 'cap' ) ) {
				report( run, result );
			}
			return result;
		};
		try {
			const order = config.order.filter( ( name, index ) => index === config.order.length - 1 || ! memory.isOut( config, name ) );
			for ( const name of order ) {
				if ( ( await transports[ name ]( run ) ) !== NEXT ) {
					return ended( 'complete' );
				}
			}
			throw session.failure( 'unreachable' );
		} catch ( error ) {
			if ( isAbort( error ) ) {
				return ended( 'aborted' );
			}
			const failure = error instanceof Failure ? error : session.failure( navigator.onLine === false ? 'offline' : 'unreachable', { reason: String( error.message || error ) } );
			const result = ended( 'failed', { gatewayKind: failure.gatewayKind || failure.kind } );
			failure.text = result.text;
			failure.result = result;
			throw failure;
		}
	}

	/** Tell the site how a grant's answer ended, where it wants to know. Never waited for. */
	function report( run, result ) {
		if ( ! run.payload.ticket || ( ! run.report && result.gatewayKind !== 'cap' ) ) {
			return;
		}
		const body = {
			ticket: run.payload.ticket,
			status: result.status,
			ms: result.ms,
			usage: result.usage,
			text: run.report ? result.text : '',
			kind: result.gatewayKind || '',
		};
		run.session
			.headers()
			.then( ( headers ) => fetch( run.config.rest + 'report', { method: 'POST', credentials: 'same-origin', keepalive: JSON.stringify( body ).length < 60000, headers, body: JSON.stringify( body ) } ) )
			.catch( () => {} );
	}

	window.stagedoor = Object.assign( window.stagedoor || {}, { ask, Session, SseReader, Failure, reaches } );
} )();
