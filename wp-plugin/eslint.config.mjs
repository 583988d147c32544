/**
 * The rules of eslint itself, for scripts that browsers run as they are. @eslint/js is
 * found where the tests' setup.sh put it.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

const js = createRequire( join( process.env.STAGEDOOR_NODE || process.cwd(), 'package.json' ) )( '@eslint/js' );
const browser = [ 'window', 'document', 'fetch', 'navigator', 'location', 'sessionStorage', 'performance', 'crypto', 'console', 'setTimeout', 'clearTimeout', 'requestAnimationFrame', 'cancelAnimationFrame', 'AbortController', 'CustomEvent', 'DOMException', 'MutationObserver', 'Node', 'TextDecoder', 'URL', 'Intl' ];

export default [
	js.configs.recommended,
	{
		files: [ '**/*.js' ],
		languageOptions: {
			ecmaVersion: 2020,
			sourceType: 'script',
			globals: Object.fromEntries( browser.map( ( name ) => [ name, 'readonly' ] ) ),
		},
		linterOptions: { reportUnusedDisableDirectives: 'error' },
		rules: {
			'no-eval': 'error',
			'no-implied-eval': 'error',
			'no-new-func': 'error',
			'no-script-url': 'error',
			'no-var': 'error',
			'prefer-const': 'error',
			eqeqeq: 'error',
			'no-unused-vars': [ 'error', { caughtErrors: 'none' } ],
			'no-console': 'error',
			'no-restricted-properties': [
				'error',
				...[ 'innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write', 'writeln', 'setHTMLUnsafe', 'createContextualFragment' ].map( ( property ) => ( { property, message: 'What a model writes is text, never HTML.' } ) ),
			],
		},
	},
];
