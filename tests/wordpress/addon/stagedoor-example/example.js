/**
 * Stagedoor's hooks in the browser. Answers pass through here whichever way they travel.
 */
( function () {
	const { addFilter, addAction } = window.wp.hooks;
	const diary = ( window.exampleDiary = [] );

	// What is sent: only the last four turns.
	addFilter( 'stagedoor.requestBody', 'example/short-memory', ( body ) => ( { ...body, messages: body.messages.slice( -4 ) } ) );

	// Each piece of an answer, as it comes.
	addFilter( 'stagedoor.delta', 'example/typography', ( delta ) => delta.replace( /--/g, '–' ) );

	// The answer so far, rendered by somebody else: a list of shows becomes cards. null leaves
	// it to Stagedoor.
	addFilter( 'stagedoor.renderPartial', 'example/cards', ( node, text ) => {
		if ( ! text.startsWith( 'SHOWS:' ) ) {
			return node;
		}
		const list = document.createElement( 'ul' );
		list.className = 'example-cards';
		for ( const name of text.slice( 6 ).split( ';' ) ) {
			const item = document.createElement( 'li' );
			item.textContent = name.trim(); // Never innerHTML: a model wrote it.
			list.append( item );
		}
		return list;
	} );

	addAction( 'stagedoor.streamStart', 'example/diary', ( { transport } ) => diary.push( 'start ' + transport ) );
	addAction( 'stagedoor.partialRendered', 'example/diary', ( { text } ) => diary.push( 'text ' + text.length ) );
	addAction( 'stagedoor.streamEnd', 'example/diary', ( { status } ) => diary.push( 'end ' + status ) );

	// Without wp.hooks: the same as events, which bubble.
	document.addEventListener( 'stagedoor:stream-end', ( event ) => diary.push( 'event ' + event.detail.status ) );
} )();
