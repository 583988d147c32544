/**
 * The three ways of an answer: from the gateway by a grant, through PHP piece by piece,
 * through PHP in one piece. Each returns NEXT while nothing can have been generated, or
 * leaves a ticket by which the server knows what was.
 *
 * Defines window.stagedoor.{transports, NEXT, memory, reaches, sleep, isAbort}.
 */
( function () {
	'use strict';

	const { kindOf } = window.stagedoor;

	/** How long a transport that failed is not tried again, in this tab. */
	const REMEMBER_MS = 10 * 60 * 1000;
	/** How long the gateway may take to show that it can be reached. */
	const PROBE_MS = 3000;
	/** How often an answer that broke off is picked up again, where the gateway keeps it. */
	const PICK_UP_MAX = 5;

	const isAbort = ( error ) => error && error.name === 'AbortError';

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

	window.stagedoor = Object.assign( window.stagedoor || {}, { transports, NEXT, memory, reaches, sleep, isAbort } );
} )();
