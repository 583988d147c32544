/**
 * The chat in a page: takes questions, shows answers while they come.
 *
 * The page says which chat it is; where to ask is the site's word (window.stagedoorSite),
 * which who writes a page cannot change. The conversation is in the tab and nowhere else.
 *
 * Hooks (`wp.hooks`), each mirrored as a bubbling CustomEvent on the chat's element:
 *   filters stagedoor.requestBody, stagedoor.delta, stagedoor.renderPartial
 *   actions stagedoor.streamStart, stagedoor.partialRendered, stagedoor.streamEnd
 */
( function () {
	'use strict';

	const { __, sprintf } = window.wp.i18n;
	const { ask, Session, Rendering, Painter, filtered, told, wellFormed } = window.stagedoor;

	/** What of a conversation stays in the tab. */
	const KEPT_CHARS_MAX = 200000;
	/** What of a conversation is sent, as the server would cut it: older turns stay here. */
	const SENT_CHARS_MAX = 60000;
	/** From here up the log follows new text; a reader who scrolled up is left alone. */
	const NEAR_END_PX = 40;

	/** As many of the newest turns as fit, and the question whatever its length. */
	function newest( messages, turnsMax ) {
		const kept = messages.slice( -turnsMax );
		let chars = kept.reduce( ( sum, one ) => sum + one.content.length, 0 );
		while ( kept.length > 1 && chars > SENT_CHARS_MAX ) {
			chars -= kept.shift().content.length;
		}
		return kept;
	}

	class Chat {
		constructor( root ) {
			this.root = root;
			if ( ! window.stagedoorSite ) {
				throw new Error( 'Stagedoor: the script that says where to ask (stagedoor-view-js-before) was left out of the page.' );
			}
			const { chat, order, format } = JSON.parse( root.dataset.stagedoor );
			this.config = { ...window.stagedoorSite, chat, order, format };
			this.session = new Session( this.config );
			for ( const name of [ 'log', 'form', 'input', 'send', 'stop', 'status', 'new', 'suggestions' ] ) {
				this[ name + 'El' ] = root.querySelector( '.stagedoor-chat__' + name );
			}
			this.turns = [];
			this.abort = null;
			this.began = 0; // Conversations; an answer to an older one is not of this one.
			this.storeKey = 'stagedoor:conversation:' + this.config.chat.slice( -64 ) + location.pathname;
			this.listen();
			this.restore();
			root.stagedoor = this; // For add-ons: ask(), stop(), clear().
		}

		listen() {
			this.formEl.addEventListener( 'submit', ( event ) => {
				event.preventDefault();
				this.submit();
			} );
			this.inputEl.addEventListener( 'keydown', ( event ) => {
				// 229: what Safari calls the Enter that ends a composition.
				if ( event.key === 'Enter' && ! event.shiftKey && ! event.isComposing && event.keyCode !== 229 ) {
					event.preventDefault();
					this.submit();
				}
			} );
			this.inputEl.addEventListener( 'input', () => this.fit() );
			this.inputEl.addEventListener( 'focus', () => this.session.begin(), { once: true } );
			this.stopEl.addEventListener( 'click', () => this.stop() );
			this.newEl.addEventListener( 'click', () => this.clear() );
			this.root.addEventListener( 'keydown', ( event ) => {
				if ( event.key === 'Escape' && this.abort ) {
					this.stop();
				}
			} );
			if ( this.suggestionsEl ) {
				this.suggestionsEl.addEventListener( 'click', ( event ) => {
					if ( event.target.matches( 'button' ) ) {
						this.ask( event.target.textContent );
					}
				} );
			}
			window.addEventListener( 'pagehide', () => {
				if ( this.abort ) {
					this.abort.abort(); // Nobody reads on: what has come is kept in the tab.
				}
				this.keep();
			} );
		}

		fit() {
			this.inputEl.style.height = 'auto';
			this.inputEl.style.height = this.inputEl.scrollHeight + 'px';
		}

		submit() {
			const text = this.inputEl.value.trim();
			if ( text && ! this.abort ) {
				this.inputEl.value = '';
				this.fit();
				this.ask( text );
			}
		}

		/** The outside world's view of what is asked. */
		context() {
			return { chat: this.root, turns: this.turns.map( ( turn ) => ( { ...turn } ) ) };
		}

		tell( name, detail ) {
			told( 'stagedoor.' + name, detail );
			this.root.dispatchEvent( new CustomEvent( 'stagedoor:' + name.replace( /[A-Z]/g, ( letter ) => '-' + letter.toLowerCase() ), { bubbles: true, detail } ) );
		}

		async ask( text ) {
			if ( this.abort ) {
				return;
			}
			if ( this.suggestionsEl ) {
				this.suggestionsEl.hidden = true;
			}
			this.forgetFailed();
			const question = { role: 'user', content: text };
			this.turns.push( question );
			question.element = this.add( 'user', text );
			await this.answer( question );
		}

		async answer( question ) {
			const turn = this.add( 'assistant', '' );
			const textEl = turn.querySelector( '.stagedoor-chat__text' );
			const rendering = new Rendering( textEl, this.config.format );
			const messages = this.turns.filter( ( one ) => one.content !== '' ).map( ( { role, content } ) => ( { role, content } ) );
			const body = filtered( 'stagedoor.requestBody', { chat: this.config.chat, messages: newest( messages, this.config.turnsMax ) }, this.context() );
			const conversation = this.began;
			let text = '';
			const paint = () => {
				const follows = this.isNearEnd();
				rendering.show( text, this.context() );
				if ( follows ) {
					this.logEl.scrollTop = this.logEl.scrollHeight;
				}
				this.tell( 'partialRendered', { chat: this.root, element: textEl, text } );
			};
			const painter = new Painter( paint );
			this.abort = new AbortController();
			this.busy( true );
			turn.classList.add( 'is-waiting' );
			let result;
			let failure = null;
			try {
				result = await ask( this.session, body, {
					signal: this.abort.signal,
					onStart: ( transport ) => {
						this.say( __( 'Answering …', 'stagedoor' ), true );
						this.tell( 'streamStart', { chat: this.root, element: textEl, transport } );
					},
					onWait: () => this.say( __( 'Waiting for the answer …', 'stagedoor' ) ),
					onDelta: ( delta ) => {
						const changed = filtered( 'stagedoor.delta', delta, this.context() );
						text += typeof changed === 'string' ? changed : delta;
						turn.classList.remove( 'is-waiting' );
						painter.soon();
					},
				} );
			} catch ( error ) {
				failure = error;
				result = error.result || { status: 'failed', transport: '' };
			}
			painter.end();
			text = wellFormed( text ); // Where it was stopped, half a character may be left.
			if ( conversation !== this.began ) {
				this.tell( 'streamEnd', { chat: this.root, element: textEl, text, ...result, failure } );
				return; // The visitor has begun a new one.
			}
			this.abort = null;
			turn.classList.remove( 'is-waiting' );
			const partial = text ? { role: 'assistant', content: text } : null;
			if ( partial ) {
				paint();
				this.turns.push( partial );
			}
			this.busy( false );
			if ( failure ) {
				this.fail( turn, failure, question, partial );
			} else if ( result.status === 'aborted' ) {
				this.mark( turn, __( 'Stopped', 'stagedoor' ) );
				this.say( __( 'Stopped.', 'stagedoor' ), true );
			} else {
				if ( result.finish === 'length' ) {
					this.mark( turn, __( 'The answer ended at its longest length.', 'stagedoor' ) );
				}
				this.say( text ? __( 'The answer is complete.', 'stagedoor' ) : __( 'There was no answer.', 'stagedoor' ), text !== '' );
			}
			if ( ! text && ! failure ) {
				turn.remove();
				this.drop( question, result.status === 'aborted' );
			}
			this.keep();
			this.tell( 'streamEnd', { chat: this.root, element: textEl, text, ...result, failure } );
		}

		/** A question that got no answer is no part of the conversation. */
		drop( question, backToInput ) {
			this.turns = this.turns.filter( ( turn ) => turn !== question );
			if ( backToInput ) {
				question.element.remove();
				if ( ! this.inputEl.value ) {
					this.inputEl.value = question.content;
					this.fit();
				}
			}
		}

		fail( turn, failure, question, partial ) {
			turn.classList.add( 'is-failed' );
			const note = document.createElement( 'div' );
			note.className = 'stagedoor-chat__failure';
			note.setAttribute( 'role', 'alert' );
			const words = document.createElement( 'p' );
			words.textContent = failure.message;
			note.append( words );
			if ( failure.kind === 'members' && this.config.login ) {
				const login = document.createElement( 'a' );
				const url = new URL( this.config.login );
				url.searchParams.set( 'redirect_to', location.href );
				login.href = url.href;
				login.textContent = __( 'Log in', 'stagedoor' );
				words.append( ' ', login );
			}
			if ( failure.reason ) {
				const reason = document.createElement( 'p' );
				reason.className = 'stagedoor-chat__reason';
				/* translators: %s: technical reason. */
				reason.textContent = sprintf( __( 'Only you see this: %s', 'stagedoor' ), failure.reason );
				this.session.begin().then( ( session ) => session.manages && note.insertBefore( reason, note.children[ 1 ] || null ) );
			}
			if ( ! [ 'cap', 'limit', 'members', 'forbidden', 'gone', 'filtered', 'too_long' ].includes( failure.kind ) ) {
				const again = document.createElement( 'button' );
				again.type = 'button';
				again.className = 'stagedoor-chat__again';
				again.textContent = __( 'Try again', 'stagedoor' );
				again.addEventListener( 'click', () => {
					if ( this.abort ) {
						return;
					}
					turn.remove();
					this.turns = this.turns.filter( ( one ) => one !== question && one !== partial );
					this.turns.push( question );
					this.inputEl.focus();
					this.answer( question );
				} );
				note.append( again );
			}
			turn.append( note );
			this.scrollToEnd();
			if ( ! partial ) {
				this.turns = this.turns.filter( ( one ) => one !== question );
			}
			this.say( '', true );
		}

		/** A new question clears what failed before it, which is no part of the conversation. */
		forgetFailed() {
			for ( const old of this.logEl.querySelectorAll( '.stagedoor-chat__again' ) ) {
				old.remove();
			}
		}

		mark( turn, text ) {
			const mark = document.createElement( 'p' );
			mark.className = 'stagedoor-chat__mark';
			mark.textContent = text;
			const follows = this.isNearEnd();
			turn.append( mark );
			if ( follows ) {
				this.scrollToEnd();
			}
		}

		stop() {
			if ( this.abort ) {
				this.abort.abort();
				this.inputEl.focus();
			}
		}

		clear() {
			this.stop();
			this.began += 1;
			this.turns = [];
			if ( this.abort ) {
				this.abort = null;
				this.busy( false );
			}
			for ( const turn of this.logEl.querySelectorAll( '.stagedoor-chat__turn:not(.is-greeting)' ) ) {
				turn.remove();
			}
			if ( this.suggestionsEl ) {
				this.suggestionsEl.hidden = false;
			}
			this.newEl.hidden = true;
			this.keep();
			this.say( '', true );
			this.inputEl.focus();
		}

		busy( is ) {
			this.root.classList.toggle( 'is-busy', is );
			// Screen readers wait for the whole answer, and do not read out each syllable.
			this.logEl.setAttribute( 'aria-busy', String( is ) );
			const hadFocus = document.activeElement === this.stopEl || document.activeElement === this.sendEl;
			this.sendEl.hidden = is;
			this.stopEl.hidden = ! is;
			if ( hadFocus ) {
				( is ? this.stopEl : this.inputEl ).focus();
			}
			this.newEl.hidden = is || this.turns.length === 0;
		}

		/** What goes on, in words. What can be seen anyway is for screen readers alone. */
		say( text, isSeen = false ) {
			this.statusEl.textContent = text;
			this.statusEl.classList.toggle( 'screen-reader-text', isSeen );
		}

		isNearEnd() {
			return this.logEl.scrollHeight - this.logEl.scrollTop - this.logEl.clientHeight < NEAR_END_PX;
		}

		scrollToEnd() {
			this.logEl.scrollTop = this.logEl.scrollHeight;
		}

		add( role, text ) {
			const turn = document.createElement( 'div' );
			turn.className = 'stagedoor-chat__turn is-' + role;
			const who = document.createElement( 'span' );
			who.className = 'screen-reader-text';
			who.textContent = role === 'user' ? __( 'You:', 'stagedoor' ) : __( 'Assistant:', 'stagedoor' );
			const textEl = document.createElement( 'div' );
			textEl.className = 'stagedoor-chat__text';
			textEl.dir = 'auto';
			textEl.textContent = text;
			turn.append( who, textEl );
			this.logEl.append( turn );
			this.scrollToEnd();
			return turn;
		}

		/** The conversation stays in the tab when the page is loaded again. */
		keep() {
			let turns = this.turns.map( ( { role, content } ) => ( { role, content } ) );
			while ( JSON.stringify( turns ).length > KEPT_CHARS_MAX ) {
				turns = turns.slice( 2 );
			}
			try {
				if ( turns.length ) {
					sessionStorage.setItem( this.storeKey, JSON.stringify( turns ) );
				} else {
					sessionStorage.removeItem( this.storeKey );
				}
			} catch ( error ) {
				// No storage, or none left: the conversation ends with the page.
			}
		}

		restore() {
			let turns = [];
			try {
				turns = JSON.parse( sessionStorage.getItem( this.storeKey ) ) || [];
			} catch ( error ) {
				turns = [];
			}
			for ( const { role, content } of turns ) {
				if ( ( role === 'user' || role === 'assistant' ) && typeof content === 'string' ) {
					const element = this.add( role, role === 'user' ? content : '' );
					this.turns.push( { role, content, element } );
					if ( role === 'assistant' ) {
						new Rendering( element.querySelector( '.stagedoor-chat__text' ), this.config.format ).show( content, this.context() );
					}
				}
			}
			if ( this.turns.length ) {
				this.newEl.hidden = false;
				if ( this.suggestionsEl ) {
					this.suggestionsEl.hidden = true;
				}
				this.scrollToEnd();
			}
		}
	}

	function begin() {
		for ( const root of document.querySelectorAll( '.stagedoor-chat[data-stagedoor]' ) ) {
			if ( ! root.stagedoor ) {
				try {
					new Chat( root );
				} catch ( error ) {
					// A copy that is not whole, or somebody else's: the page's other chats go on.
					setTimeout( () => {
						throw error;
					} );
				}
			}
		}
	}

	window.stagedoor = Object.assign( window.stagedoor, { begin } );
	if ( document.readyState === 'loading' ) {
		document.addEventListener( 'DOMContentLoaded', begin );
	} else {
		begin();
	}
} )();
