/**
 * One question, one answer: asks by the first transport that works.
 *
 * The rule above all others: a question is generated once. A transport is left for the
 * next one only while nothing can have been generated, or with a ticket by which the
 * server knows what was.
 *
 * Defines window.stagedoor.ask. Used by the chat, by the editor's actions and by the
 * settings screen.
 */
( function () {
	'use strict';

	const { Answer, Failure, transports, NEXT, memory, sleep, isAbort } = window.stagedoor;

	/** How often a busy server is asked again: within three minutes a place is free, or none will be. */
	const AGAIN_MAX = 50;
	/** Between two of those, at most: each takes a worker for a moment, and many may wait. */
	const AGAIN_GAP_S_MAX = 5;

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
					// Later each time, and not all at once: who waits must not keep the server busy.
					const gap_s = Math.min( AGAIN_GAP_S_MAX, ( copy.data.retry_after_s || 1 ) * ( 1 + turn / 4 ) );
					await sleep( 1000 * gap_s * ( 0.75 + Math.random() / 2 ), signal );
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

	window.stagedoor = Object.assign( window.stagedoor || {}, { ask } );
} )();
