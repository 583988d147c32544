/**
 * The settings screen's two tests, and the dashboard's widget. Everything that comes from
 * the gateway is shown as text.
 */
( function () {
	'use strict';

	const { __, _n, sprintf } = window.wp.i18n;
	const { ask, Session, SseReader } = window.stagedoor;
	const config = window.stagedoorAdmin;
	const headers = { 'X-WP-Nonce': config.nonce };

	/** Frames of the probe are 150 ms apart; closer than this, something held them back. */
	const GAP_MS_MIN = 60;

	/** This site's answer; or why it is none, in words. */
	async function read( response ) {
		const json = await response.json().catch( () => null );
		if ( json === null || ! response.ok ) {
			/* translators: %d: HTTP status. */
			throw new Error( json && json.message ? json.message : sprintf( __( 'This site’s own server gave no answer (HTTP status %d): it waited too long, or something before WordPress refused.', 'stagedoor' ), response.status ) );
		}
		return json;
	}

	const get = ( route ) => fetch( config.rest + route, { headers, credentials: 'same-origin', cache: 'no-store' } ).then( read );
	const post = ( route, body ) =>
		fetch( config.rest + route, { method: 'POST', credentials: 'same-origin', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify( body || {} ) } ).then( read );

	function node( name, text, className ) {
		const made = document.createElement( name );
		if ( text !== undefined ) {
			made.textContent = text;
		}
		if ( className ) {
			made.className = className;
		}
		return made;
	}

	/* ---- tests --------------------------------------------------------------------- */

	const result = document.querySelector( '.stagedoor-tests__result' );

	function line( ok, text ) {
		result.append( node( 'p', ( ok ? '✓ ' : '✗ ' ) + text, ok ? 'is-ok' : 'is-not' ) );
	}

	async function testStatus() {
		const status = await get( 'status' );
		if ( ! status.ok ) {
			line( false, status.reason || __( 'The gateway cannot be reached.', 'stagedoor' ) );
			return;
		}
		/* translators: %d: number of models. */
		line( true, sprintf( _n( 'The gateway answers and knows the key. It serves %d model:', 'The gateway answers and knows the key. It serves %d models:', status.models.length, 'stagedoor' ), status.models.length ) );
		const list = document.getElementById( 'stagedoor-models' );
		const names = node( 'p', undefined, 'stagedoor-tests__models' );
		status.models.forEach( ( name ) => {
			const button = node( 'button', name, 'button-link' );
			button.type = 'button';
			button.addEventListener( 'click', () => {
				document.getElementById( 'stagedoor-model' ).value = name;
			} );
			names.append( button, ' ' );
			const option = document.createElement( 'option' );
			option.value = name;
			list.append( option );
		} );
		result.append( names );
	}

	/** When the frames of an answer come, in ms. */
	async function arrivals( url ) {
		const times = [];
		const reader = new SseReader( () => times.push( performance.now() ) );
		const response = await fetch( url, { headers, credentials: 'same-origin', cache: 'no-store' } );
		const body = response.body.getReader();
		const decoder = new TextDecoder();
		for (;;) {
			const { done, value } = await body.read();
			if ( done ) {
				break;
			}
			reader.feed( decoder.decode( value, { stream: true } ) );
		}
		return times;
	}

	async function testStreaming() {
		const trial = await post( 'trial' );
		const times = await arrivals( trial.probe ).catch( () => [] );
		const gap = times.length > 1 ? ( times[ times.length - 1 ] - times[ 0 ] ) / ( times.length - 1 ) : 0;
		const relay = times.length < 5 ? 'failed' : gap >= GAP_MS_MIN ? 'ok' : 'buffered';
		line(
			relay === 'ok',
			relay === 'ok'
				? /* translators: %d: milliseconds. */
				  sprintf( __( 'This server lets pieces through one by one (%d ms apart).', 'stagedoor' ), Math.round( gap ) )
				: __( 'This server holds pieces back and sends them together.', 'stagedoor' )
		);
		const session = new Session( { rest: config.rest, order: [ 'direct' ], probe: config.probe, nonce: config.nonce, sentences: {} } );
		let pieces = 0;
		const tried = await ask( session, { chat: trial.chat, messages: [ { role: 'user', content: 'Count from 1 to 10.' } ] }, { onDelta: () => ( pieces += 1 ) } ).catch( ( failure ) => ( { failure } ) );
		const direct = tried.status === 'complete' && tried.transport === 'direct' ? 'ok' : 'failed';
		line(
			direct === 'ok',
			direct === 'ok'
				? /* translators: %d: number of pieces. */
				  sprintf( _n( 'Browsers get answers from the gateway itself (%d piece).', 'Browsers get answers from the gateway itself (%d pieces).', pieces, 'stagedoor' ), pieces )
				: __( 'Browsers get no answers from the gateway itself:', 'stagedoor' ) + ' ' + ( tried.failure && tried.failure.reason ? tried.failure.reason : __( 'it cannot be reached from here, is too old, or does not allow this site’s address (allowed_origins).', 'stagedoor' ) )
		);
		const kept = await post( 'verdict', { direct, relay, gap_ms: gap } );
		const names = { direct: __( 'from the gateway', 'stagedoor' ), relay: __( 'through this server', 'stagedoor' ), buffered: __( 'in one piece', 'stagedoor' ) };
		/* translators: %s: list of ways, the first is used first. */
		line( true, sprintf( __( 'Answers travel: %s.', 'stagedoor' ), kept.order.map( ( name ) => names[ name ] ).join( __( ', else ', 'stagedoor' ) ) ) );
	}

	document.querySelectorAll( '[data-stagedoor-test]' ).forEach( ( button ) =>
		button.addEventListener( 'click', async () => {
			result.replaceChildren( node( 'p', __( 'Testing …', 'stagedoor' ) ) );
			button.disabled = true;
			const first = result.firstChild;
			try {
				await ( button.dataset.stagedoorTest === 'status' ? testStatus() : testStreaming() );
			} catch ( error ) {
				line( false, String( error.message || error ) );
			}
			first.remove();
			button.disabled = false;
		} )
	);

	/** The roles only matter where roles are asked for. */
	const who = document.getElementById( 'stagedoor-who' );
	const roles = document.getElementById( 'stagedoor-roles' );
	if ( who && roles ) {
		const show = () => {
			roles.closest( 'tr' ).hidden = who.value !== 'roles';
		};
		who.addEventListener( 'change', show );
		show();
	}

	/* ---- the dashboard's widget ---------------------------------------------------- */

	const money = ( amount ) => new Intl.NumberFormat( document.documentElement.lang || undefined, { style: 'currency', currency: 'USD', maximumFractionDigits: amount < 1 ? 4 : 2 } ).format( amount );

	function bar( share ) {
		const frame = node( 'div', undefined, 'stagedoor-usage__bar' );
		const fill = node( 'div' );
		fill.style.inlineSize = Math.min( 100, Math.round( share * 100 ) ) + '%';
		fill.className = share >= 1 ? 'is-full' : share >= 0.8 ? 'is-near' : '';
		frame.append( fill );
		frame.setAttribute( 'role', 'img' );
		/* translators: %d: per cent. */
		frame.setAttribute( 'aria-label', sprintf( __( '%d %% of the cap', 'stagedoor' ), Math.round( share * 100 ) ) );
		return frame;
	}

	function table( title, rows ) {
		const made = node( 'table', undefined, 'stagedoor-usage__table' );
		const head = node( 'thead' );
		const row = node( 'tr' );
		row.append( node( 'th', title ), node( 'th', __( 'Requests', 'stagedoor' ) ), node( 'th', __( 'Spent', 'stagedoor' ) ) );
		head.append( row );
		const body = node( 'tbody' );
		rows.forEach( ( one ) => {
			const line = node( 'tr' );
			line.append( node( 'td', one.label ), node( 'td', String( one.requests ) ), node( 'td', money( one.spent ) ) );
			body.append( line );
		} );
		made.append( head, body );
		return made;
	}

	function showUsage( box, usage ) {
		box.replaceChildren();
		box.setAttribute( 'aria-busy', 'false' );
		if ( ! usage.ok ) {
			box.append( node( 'p', usage.old ? __( 'This gateway does not tell usage to its sites.', 'stagedoor' ) : usage.reason || __( 'The gateway cannot be reached.', 'stagedoor' ) ) );
			return;
		}
		const spent = node( 'p', undefined, 'stagedoor-usage__spent' );
		/* translators: 1: money spent, 2: the cap. */
		spent.append( node( 'strong', usage.cap === null ? money( usage.spent ) : sprintf( __( '%1$s of %2$s', 'stagedoor' ), money( usage.spent ), money( usage.cap ) ) ) );
		box.append( spent );
		if ( usage.cap !== null ) {
			const share = usage.cap > 0 ? usage.spent / usage.cap : 1;
			box.append( bar( share ) );
			if ( usage.reached ) {
				box.append( node( 'p', __( 'The cap is reached: visitors get no answers until it begins anew.', 'stagedoor' ), 'is-not' ) );
			}
		}
		if ( usage.resets_at ) {
			/* translators: %s: date and time. */
			box.append( node( 'p', sprintf( __( 'Begins anew on %s.', 'stagedoor' ), new Date( usage.resets_at * 1000 ).toLocaleString( document.documentElement.lang || undefined, { dateStyle: 'long', timeStyle: 'short' } ) ) ) );
		}
		if ( usage.features && usage.features.length ) {
			box.append( table( __( 'Last 30 days', 'stagedoor' ), usage.features ) );
		}
	}

	const box = document.querySelector( '.stagedoor-usage' );
	if ( box ) {
		get( 'usage' ).then(
			( usage ) => showUsage( box, usage ),
			() => showUsage( box, { ok: false } )
		);
	}
} )();
