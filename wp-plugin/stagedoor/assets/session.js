/**
 * Speaks to this site: who is there, what may be asked, and why not. Never to the gateway.
 *
 * Defines window.stagedoor.{Session, Failure, kindOf}.
 */
( function () {
	'use strict';

	const { __ } = window.wp.i18n;
	const { wellFormed } = window.stagedoor;

	/** Why there is no answer, or no whole one. `kind` is for code, `message` for people. */
	class Failure extends Error {
		constructor( kind, message, more ) {
			super( message );
			this.name = 'StagedoorFailure';
			this.kind = kind;
			Object.assign( this, more );
		}
	}

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
		if ( status === 413 ) {
			return 'too_long'; // Says the web server, before anybody has read it.
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
					body: JSON.stringify( body, ( name, value ) => ( typeof value === 'string' ? wellFormed( value ) : value ) ),
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
			if ( kind === 'members' ) {
				this.found = null; // Who logs in, perhaps in another tab, is somebody else next time.
			}
			return failure;
		}
	}

	window.stagedoor = Object.assign( window.stagedoor || {}, { Session, Failure, kindOf } );
} )();
