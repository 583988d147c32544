/**
 * The block editor: the chat block, and the actions that rewrite, summarise or go on with
 * a paragraph. What a model writes becomes text in a block, never markup.
 */
( function () {
	'use strict';

	const { createElement: el, Fragment, useState, useRef, useEffect } = window.wp.element;
	const { __ } = window.wp.i18n;
	const { registerBlockType, createBlock } = window.wp.blocks;
	const { InspectorControls, BlockControls, useBlockProps } = window.wp.blockEditor;
	const { PanelBody, TextControl, TextareaControl, SelectControl, FormTokenField, Notice, ToolbarGroup, ToolbarButton, ToolbarDropdownMenu } = window.wp.components;
	const { createHigherOrderComponent } = window.wp.compose;
	const { useDispatch, useSelect, select: selectStore } = window.wp.data;
	const { create, toHTMLString } = window.wp.richText;
	const { addFilter } = window.wp.hooks;
	const { ask, Session } = window.stagedoor;

	const config = window.stagedoorEditor || { order: [], models: [] };

	/** How often a block's text is set while an answer comes: each is a state of the editor. */
	const PAINT_MS = 80;

	/* ---- the chat block ------------------------------------------------------------ */

	/** What newer editors want of controls; older ones ignore it. */
	const NEW = { __nextHasNoMarginBottom: true, __next40pxDefaultSize: true };

	function Edit( { attributes, setAttributes } ) {
		const set = ( name ) => ( value ) => setAttributes( { [ name ]: value } );
		const props = useBlockProps( { className: 'stagedoor-chat', 'data-theme': attributes.theme } );
		const models = [ { value: '', label: __( 'The site’s default', 'stagedoor' ) }, ...config.models.map( ( name ) => ( { value: name, label: name } ) ) ];
		const model =
			config.models.length && ( ! attributes.model || config.models.includes( attributes.model ) )
				? el( SelectControl, { ...NEW, label: __( 'Model', 'stagedoor' ), value: attributes.model, options: models, onChange: set( 'model' ) } )
				: el( TextControl, { ...NEW, label: __( 'Model', 'stagedoor' ), value: attributes.model, placeholder: __( 'The site’s default', 'stagedoor' ), onChange: set( 'model' ) } );
		return el(
			Fragment,
			null,
			el(
				InspectorControls,
				null,
				el(
					PanelBody,
					{ title: __( 'Chat', 'stagedoor' ) },
					el( TextControl, { ...NEW, label: __( 'Title', 'stagedoor' ), value: attributes.title, onChange: set( 'title' ) } ),
					el( TextareaControl, { ...NEW, label: __( 'Greeting', 'stagedoor' ), value: attributes.greeting, onChange: set( 'greeting' ) } ),
					el( TextControl, { ...NEW, label: __( 'Placeholder', 'stagedoor' ), value: attributes.placeholder, onChange: set( 'placeholder' ) } ),
					el( FormTokenField, { ...NEW, label: __( 'Suggested questions', 'stagedoor' ), value: attributes.suggestions, maxLength: 6, onChange: set( 'suggestions' ) } ),
					el( SelectControl, {
						...NEW,
						label: __( 'Colours', 'stagedoor' ),
						value: attributes.theme,
						options: [
							{ value: 'auto', label: __( 'As the visitor’s device', 'stagedoor' ) },
							{ value: 'light', label: __( 'Light', 'stagedoor' ) },
							{ value: 'dark', label: __( 'Dark', 'stagedoor' ) },
						],
						onChange: set( 'theme' ),
					} )
				),
				el(
					PanelBody,
					{ title: __( 'Answers', 'stagedoor' ), initialOpen: false },
					model,
					el( TextareaControl, {
						...NEW,
						label: __( 'System prompt', 'stagedoor' ),
						help: __( 'Instead of the site’s. Visitors do not see it.', 'stagedoor' ),
						value: attributes.systemPrompt,
						onChange: set( 'systemPrompt' ),
					} ),
					el( TextControl, {
						...NEW,
						type: 'number',
						min: 0,
						label: __( 'Longest answer (tokens)', 'stagedoor' ),
						help: __( '0: as long as the site allows.', 'stagedoor' ),
						value: attributes.maxTokens,
						onChange: ( value ) => setAttributes( { maxTokens: Math.max( 0, parseInt( value, 10 ) || 0 ) } ),
					} ),
					el( SelectControl, {
						...NEW,
						label: __( 'Show answers as', 'stagedoor' ),
						value: attributes.format,
						options: [
							{ value: 'markdown', label: __( 'Formatted text', 'stagedoor' ) },
							{ value: 'text', label: __( 'Plain text', 'stagedoor' ) },
						],
						onChange: set( 'format' ),
					} )
				)
			),
			el(
				'div',
				props,
				! config.ready &&
					el(
						Notice,
						{ status: 'warning', isDismissible: false },
						__( 'Visitors see nothing here until Stagedoor is set up.', 'stagedoor' ),
						config.settings && el( Fragment, null, ' ', el( 'a', { href: config.settings }, __( 'Set it up', 'stagedoor' ) ) )
					),
				el(
					'section',
					{ className: 'stagedoor-chat__box' },
					el( 'header', { className: 'stagedoor-chat__head' }, el( 'h3', { className: 'stagedoor-chat__title' }, attributes.title || __( 'Assistant', 'stagedoor' ) ) ),
					el(
						'div',
						{ className: 'stagedoor-chat__log' },
						el( 'div', { className: 'stagedoor-chat__turn is-assistant' }, el( 'div', { className: 'stagedoor-chat__text' }, attributes.greeting || __( 'Answers appear here.', 'stagedoor' ) ) )
					),
					attributes.suggestions.length > 0 &&
						el(
							'div',
							{ className: 'stagedoor-chat__suggestions' },
							attributes.suggestions.map( ( text, index ) => el( 'span', { key: index, className: 'stagedoor-chat__suggestion' }, text ) )
						),
					el(
						'div',
						{ className: 'stagedoor-chat__form' },
						el( 'div', { className: 'stagedoor-chat__input is-preview' }, attributes.placeholder || __( 'Ask a question …', 'stagedoor' ) ),
						el( 'span', { className: 'stagedoor-chat__send is-preview' }, __( 'Send', 'stagedoor' ) )
					)
				)
			)
		);
	}

	registerBlockType( 'stagedoor/chat', { edit: Edit, save: () => null } );

	/* ---- the generate action ------------------------------------------------------- */

	const BLOCKS = [ 'core/paragraph', 'core/heading', 'core/list-item' ];
	const ACTIONS = [
		{ name: 'rewrite', title: __( 'Rewrite', 'stagedoor' ), icon: 'edit', replaces: true },
		{ name: 'shorten', title: __( 'Shorten', 'stagedoor' ), icon: 'editor-contract', replaces: true },
		{ name: 'fix', title: __( 'Correct spelling and grammar', 'stagedoor' ), icon: 'editor-spellcheck', replaces: true },
		{ name: 'summarise', title: __( 'Summarise below', 'stagedoor' ), icon: 'excerpt-view', only: 'core/paragraph' },
		{ name: 'continue', title: __( 'Go on', 'stagedoor' ), icon: 'controls-forward', only: 'core/paragraph', before: true },
	];

	const plainText = ( content ) => create( { html: String( content || '' ) } ).text;

	/** Text as a block's content: escaped, with its line ends. */
	const toContent = ( text ) =>
		text
			.split( '\n' )
			.map( ( line ) => toHTMLString( { value: create( { text: line } ) } ) )
			.join( '<br>' );

	/** The words of the blocks before one, newest last. */
	function textBefore( editor, clientId ) {
		const order = editor.getBlockOrder( editor.getBlockRootClientId( clientId ) );
		return order
			.slice( 0, order.indexOf( clientId ) )
			.map( ( id ) => plainText( ( editor.getBlockAttributes( id ) || {} ).content ) )
			.filter( Boolean )
			.join( '\n\n' );
	}

	const session = new Session( { ...config, nonce: ( window.wpApiSettings || {} ).nonce || null } );

	/** Writes an answer into blocks: the first one's text, and paragraphs after it as they come. */
	class Writer {
		constructor( editor, dispatch, clientId, replaces ) {
			this.dispatch = dispatch;
			this.root = editor.getBlockRootClientId( clientId );
			this.editor = editor;
			this.original = replaces ? { id: clientId, content: editor.getBlockAttributes( clientId ).content } : null;
			this.ids = replaces ? [ clientId ] : [];
			this.after = clientId;
			this.added = [];
			this.begun = false;
		}

		/** The first change is a step of the editor's own undo; those after it belong to it. */
		step() {
			if ( this.begun ) {
				this.dispatch.__unstableMarkNextChangeAsNotPersistent();
			}
			this.begun = true;
		}

		put( text ) {
			const parts = text.replace( /^\s+/, '' ).split( /\n{2,}/ );
			const kept = parts.filter( ( part, index ) => index === 0 || part.trim() );
			kept.forEach( ( part, index ) => {
				if ( ! this.ids[ index ] ) {
					const block = createBlock( 'core/paragraph' );
					const last = this.ids[ index - 1 ] || this.after;
					this.step();
					this.dispatch.insertBlocks( [ block ], this.editor.getBlockIndex( last ) + 1, this.root, false );
					this.ids.push( block.clientId );
					this.added.push( block.clientId );
				}
				this.step();
				this.dispatch.updateBlockAttributes( this.ids[ index ], { content: toContent( part.trimEnd() ) } );
			} );
		}

		undo() {
			if ( this.added.length ) {
				this.dispatch.removeBlocks( this.added.filter( ( id ) => this.editor.getBlock( id ) ), false );
			}
			if ( this.original && this.editor.getBlock( this.original.id ) ) {
				this.dispatch.updateBlockAttributes( this.original.id, { content: this.original.content } );
			}
		}
	}

	function Generate( { clientId, name, busy, setBusy } ) {
		const abort = useRef( null );
		const dispatch = useDispatch( 'core/block-editor' );
		const notices = useDispatch( 'core/notices' );
		const editor = selectStore( 'core/block-editor' );
		const post = useSelect( ( select ) => ( select( 'core/editor' ) ? select( 'core/editor' ).getCurrentPostId() : 0 ), [] );
		useEffect( () => () => abort.current && abort.current.abort(), [] ); // Gone with the block.

		async function run( action ) {
			const text = plainText( editor.getBlockAttributes( clientId ).content );
			if ( ! text.trim() || abort.current ) {
				return;
			}
			const writer = new Writer( editor, dispatch, clientId, action.replaces );
			const controller = new AbortController();
			abort.current = controller;
			setBusy( true );
			let answer = '';
			let timer = null;
			const paint = () => {
				timer = null;
				writer.put( answer );
			};
			const say = ( kind, message, actions ) => notices.createNotice( kind, message, { type: 'snackbar', id: 'stagedoor-generate', actions, explicitDismiss: kind === 'error' } );
			const undo = [ { label: __( 'Undo', 'stagedoor' ), onClick: () => writer.undo() } ];
			try {
				const result = await ask(
					session,
					{ action: action.name, text, post: Number( post ) || 0, before: action.before ? textBefore( editor, clientId ) : '' },
					{
						signal: controller.signal,
						onDelta: ( delta, all ) => {
							answer = all;
							if ( ! timer ) {
								timer = setTimeout( paint, PAINT_MS );
							}
						},
					}
				);
				clearTimeout( timer );
				if ( answer ) {
					writer.put( answer );
					say( 'success', result.status === 'aborted' ? __( 'Stopped. What was written stays.', 'stagedoor' ) : __( 'Done.', 'stagedoor' ), undo );
				}
			} catch ( failure ) {
				clearTimeout( timer );
				if ( answer ) {
					writer.put( answer );
				}
				say( 'error', failure.reason ? failure.message + ' (' + failure.reason + ')' : failure.message, answer ? undo : [] );
			} finally {
				abort.current = null;
				setBusy( false );
			}
		}

		const controls = ACTIONS.filter( ( action ) => ! action.only || action.only === name ).map( ( action ) => ( {
			title: action.title,
			icon: action.icon,
			onClick: () => run( action ),
		} ) );
		return el(
			BlockControls,
			{ group: 'other' },
			el(
				ToolbarGroup,
				null,
				busy
					? el( ToolbarButton, { icon: 'controls-pause', label: __( 'Stop writing', 'stagedoor' ), className: 'stagedoor-stop', onClick: () => abort.current && abort.current.abort() }, __( 'Stop', 'stagedoor' ) )
					: el( ToolbarDropdownMenu, { icon: 'welcome-write-blog', label: __( 'Write with Stagedoor', 'stagedoor' ), controls } )
			)
		);
	}

	if ( config.generate ) {
		/** For the selected block; and for one that is being written, wherever the writer looks meanwhile. */
		const withGenerate = createHigherOrderComponent(
			( BlockEdit ) =>
				function WithGenerate( props ) {
					const [ busy, setBusy ] = useState( false );
					return el( Fragment, null, el( BlockEdit, props ), ( props.isSelected || busy ) && BLOCKS.includes( props.name ) && el( Generate, { clientId: props.clientId, name: props.name, busy, setBusy } ) );
				},
			'withStagedoorGenerate'
		);
		addFilter( 'editor.BlockEdit', 'stagedoor/generate', withGenerate );
	}
} )();
